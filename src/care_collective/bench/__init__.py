"""The figures of the goals as commands: starts what it measures in a scratch folder, and says whether a goal is met.

Must not touch a deployment: no setting of the environment is read, and everything made is removed.
"""
