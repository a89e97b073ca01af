"""Who may be believed: identities, keys, certificates, the sites that are trusted, and the tools for them.

``identity`` is the grammar, ``keys`` the files, ``certificates`` what a leaf must look like, ``chain``
the only user of the library's path validation, ``revocation`` the lists, ``store`` what this host
trusts, ``authority`` a site's own CA, ``exchange`` what goes between sites by file.
"""
