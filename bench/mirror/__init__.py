"""The load through a broker to which Partyline mirrors its channels."""
