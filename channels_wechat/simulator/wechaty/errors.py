"""How a puppet service fails: whatever the puppet throws is UNKNOWN, with a trace of JavaScript in the details (facts: wechaty.md 6)."""

TRACE = """
    at SimulatedPuppet.{method} (file:///app/node_modules/wechaty-puppet-simulated/dist/esm/src/puppet.js:160:19)
    at {method} (file:///app/node_modules/wechaty-puppet-service/dist/esm/src/server/puppet-implementation.js:408:46)
    at Object.{method} (file:///app/node_modules/wechaty-puppet-service/dist/esm/src/auth/auth-impl-token.js:26:28)
    at Object.onReceiveHalfClose (/app/node_modules/@grpc/grpc-js/build/src/server.js:1479:25)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)"""


class PuppetError(Exception):
    """kind: the name of the JavaScript error."""

    def __init__(self, message: str, kind: str = "Error") -> None:
        super().__init__(message)
        self.kind = kind

    def details(self, rpc: str) -> str:
        return f"{self.kind}: {self}" + TRACE.format(method=rpc[0].lower() + rpc[1:])
