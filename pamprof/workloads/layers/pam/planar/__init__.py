"""PAM over real planes: a complex sequence is one real tensor [B, T, 2, D]."""
