"""The bridge under the worst of days, with its real processes: `make chaos`, `make acceptance`.

python -m tests.acceptance.chaos     everything fails at random at once: nothing lost, nothing doubled, order kept
python -m tests.acceptance.tokens    a token that dies every second under many sending threads
python -m tests.acceptance.load      hundreds of turns open at once, and a Valkey that stopped answering
python -m tests.acceptance.connections   50 bots over two connectors, one killed and one paused: nothing lost, nothing twice
python -m tests.acceptance.robot     600 messages for one group robot at once: 20 a minute by the platform's count, in order
python -m tests.acceptance.wechaty   Wechaty's real puppet service restarted, the connector killed, each side paused; no loop of echoes

Each starts PostgreSQL, Valkey, web, worker, beat, connector, simulator and the stand-in gateway over a data folder of its own, prints a
table and exits 0 or 1. What is counted comes from three sides that share no code: the simulator's record, the gateway's, the database.
"""
