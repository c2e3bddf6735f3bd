"""The load on Partyline's JSON dialect, and on NATS, ngircd and Mosquitto in their own protocols."""
