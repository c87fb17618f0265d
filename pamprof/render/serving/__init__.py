"""What serving costs, as sentences, tables, pictures and a page that computes."""
