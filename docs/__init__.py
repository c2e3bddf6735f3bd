"""What is written about Partyline, and the tool that keeps the generated parts of it current."""
