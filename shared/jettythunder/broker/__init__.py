"""Everything that speaks AMQP: connections, confirmed publishing, request and reply, consumers, topology.

Nothing outside this package imports aio_pika, aiormq or pamqp.
"""

from jettythunder.broker import properties

properties.install()
