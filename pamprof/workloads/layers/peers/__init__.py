"""Recurrent layers of other libraries (extra ``peers``), each a factory for ``foreign``; see ``factories``."""
