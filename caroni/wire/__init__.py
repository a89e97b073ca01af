"""The wire: messages as bytes, sealed and opened.

``codec`` knows the fields, ``rules`` who may say what, ``bundle`` many messages in one payload,
``envelope`` the signature and its verification, ``topics`` where it goes. Nothing here does I/O; only
this package sees the generated ``caroni_pb2``.
"""
