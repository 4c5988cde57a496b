"""The web server: waitress in several processes, with time-outs and with an admission check before large bodies.

A thread of the application works only while the application computes. One I/O thread in each process reads requests to
their end before a thread gets them, and writes answers after the thread is free again; what does not fit into memory
waits in temporary files. Slow clients cost a socket, and no thread.
"""
