"""What people see: text on the terminal, JSON, and HTML pages."""
