"""Talking to RabbitMQ: connections, confirmed publishing, request and reply, consumers that lose nothing."""
