"""The two implementations of :class:`caroni.daemon.ports.Bus` and the queues that each role reads.

``memory`` is the in-process exchange (embedded default), ``amqp`` speaks to RabbitMQ; nothing is
imported here, so that a daemon without a broker never pays for the AMQP client.
"""
