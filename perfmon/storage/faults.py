"""What is wrong with a store, in words that say what to do."""

import re

# The beginning of what the server or the system says, and what that means for people. The first that fits counts.
_MEANINGS = {
    "READONLY": "it is a read-only replica: have --store name its primary, or make it one with REPLICAOF NO ONE",
    "OOM": "it has no memory left: raise its maxmemory, use a larger machine, or keep less (--retention)",
    "MISCONF|ERR .*[Nn]o space left": "it cannot write to its disk: make room there, and it goes on by itself",
    "NOAUTH": "it asks for a password: give it in --store redis://[user:]password@host:port/db",
    "WRONGPASS|ERR invalid password|ERR AUTH": "it does not take the user and password of --store: compare them with "
    "its requirepass or ACL",
    "NOPERM": "the user of --store may not do this: allow it all commands on the keys pm:* (ACL SETUSER)",
    "DENIED": "it takes connections from its own machine only: set a password and a bind address there",
    "LOADING": "it is reading its files, and answers when it has: wait",
    "BUSY": "it is busy with somebody's script: wait, or end that with SCRIPT KILL",
    "NOREPLICAS": "it has too few replicas to take writes: start them, or lower its min-replicas-to-write",
    "MASTERDOWN": "it is a replica that has lost its primary: have --store name a primary",
    "CLUSTERDOWN|MOVED|CROSSSLOT|ASK": "it is part of a cluster: have --store name a server that stands alone",
    "ERR max number of clients": "it takes no more connections: raise its maxclients, or end some of them",
    "ERR DB index|ERR invalid DB": "it has no database of that number: raise its databases, or change that of --store",
    ".*[Cc]onnection was refused": "nothing listens there: start the server, or correct the address in --store",
    "no answer|Not received any response": "it hangs, or is overloaded: look at its process and its log",
}


# Of the embedded server nobody need do anything about it.
_AWAY = "connection lost|.*[Cc]onnection was refused|.*No such file"
_STARTING = "its server is being started"


def explained(problem: str, embedded: bool = False) -> str:
    """A sentence for `problem`, the words of the server or of the system, which come with it; or just those."""
    if embedded and re.match(_AWAY, problem):
        return f"{_STARTING} ({problem})"
    for beginning, meaning in _MEANINGS.items():
        if re.match(beginning, problem):
            return f"{meaning} ({problem})"
    return problem
