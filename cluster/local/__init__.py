"""The local cluster: a durable queue of this machine's cores, memory and gpus.

    events, resources, policy, queue_state, wire    decide (pure)
    store, server, node, warm, lifecycle, client    do

It knows no `Job` class, no keyword names and no scheduler's dialect.
"""
