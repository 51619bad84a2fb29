"""The database's versions, oldest first, in ``versions/``; env.py runs them on a connection that it is given.

To add one: change models.py, write ``versions/000N_what_it_does.py``, set HEAD_REVISION in database.py.
tests/db says which differences between models and migrations are left.
"""
