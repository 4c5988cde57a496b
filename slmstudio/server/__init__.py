"""The web server: waitress in several processes, with time-outs and with an admission check before large bodies.

An application thread is busy only while the application computes. One I/O thread in each process reads requests
completely before a thread gets them, and writes responses after the thread is free again; large ones are buffered in
temporary files. Slow clients use a socket, and no thread.
"""
