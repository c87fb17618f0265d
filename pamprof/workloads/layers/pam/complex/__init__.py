"""PAM over torch's complex tensors."""
