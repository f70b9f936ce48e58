"""What all folders share: files, tables, checks."""
