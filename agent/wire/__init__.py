"""The language that controller and agents share.

The way of a machine, in messages (`agent.wire.messages`); every arrow passes the broker:

1. machine -> `EnrolmentRequest` -> controller (`judge`, store, `BrokerCommand.allow`) -> answer -> machine. Once in a life.
2. machine -> request channel: `SessionRequest` -> controller (`answer_session`) -> `SessionAnswer`. At each start of either.
3. machine subscribes to ``c/<id>/`` and ``x/<id>/``, publishes `EchoRequest` until it hears `Echo`: both ways are open.
4. machine -> request channel: `SnapshotRequest` (what it has) -> controller -> `Carried`..., `SnapshotEnd`.
5. machine publishes `MachineReport` at each change and `Beat` every second; controller publishes `Carried` at each change.

A state of a subject travels as an envelope of its own (`seal_state`), sealed to the machine that it is for, inside `Carried`:
straight to that machine, or to the machine of its load balancer, which keeps it and passes it on over ``x/`` unopened.
A session's messages are numbered; a number that is missing makes the machine ask for a snapshot. `Heads` tells a machine which
generations are current, so that it notices what it never got.

The relay, over ``x/<recipient>/<sender>/<type>`` (the broker vouches for the sender's id; what counts is signed inside):

| type | from | frames after the topic |
| --- | --- | --- |
| ``state`` | balancer's machine | the envelope's four frames, as the controller sealed them |
| ``taken`` | dependent's machine | subject, generation (decimal): accepted, stop sending |
"""
