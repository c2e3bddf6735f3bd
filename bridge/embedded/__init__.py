"""Floor 3: the embedded broker: amqtt as a supervised child process, with the accounts of the chat."""
