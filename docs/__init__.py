"""The documentation of Partyline, and the tool that keeps its generated parts current."""
