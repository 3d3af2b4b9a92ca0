"""Rehearses a rollback: a scratch deployment with members, V2 broken on purpose, and what the guard makes of it.

Must not touch a deployment: no setting of the environment is read, and everything made is removed.
"""
