"""WeChat (微信) with an ordinary person's account, through a puppet service of Wechaty. WeChat forbids such programs."""

import os

# gRPC's own library writes lines of its own to stderr, for example when a service closes a connection. They are no log lines of ours, and
# what they say comes to us as an error as well.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
