"""What people see: terminal text and progress."""
