"""The canonical graph: one form for a computation, whichever exporter or author wrote it.

A source, a network of :mod:`genmobilenet` and a user-defined PyTorch module all become one
:class:`~porting.graph.node.Graph`; recognising a network and pairing its layers are comparisons
of two graphs.
"""
