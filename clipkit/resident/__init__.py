"""The resident: a process that the first question starts, that answers the next ones, and leaves by itself.

Most of what a question costs is importing LanceDB and opening the model. The resident has done both, and runs
the very command that was typed, in the folder where it was typed; so its answers are the same. `meeting` says
where it listens and for whom, `client` asks it or starts it, `server` is what it does. Whatever goes wrong,
nothing is lost: the question is then answered as if there were no resident.
"""
