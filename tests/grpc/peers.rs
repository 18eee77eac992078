//! The gRPC that people use: Python's, a server behind and a client before.
