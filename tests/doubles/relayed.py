"""relayed.py SOCKET: the harness's relay to SOCKET, by itself; prints its port."""

import sys

from hyperhive.cage.relay import Relay

relay = Relay(sys.argv[1], ("127.0.0.1", 0))
print(relay.listener.getsockname()[1], flush=True)
relay.run()
