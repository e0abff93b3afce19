"""The canonical form of a computation, the same whoever wrote it down.

A source, a network of :mod:`genmobilenet` and a user-defined PyTorch module all become one
:class:`~porting.graph.node.Graph`; recognising a network and pairing its layers are comparisons
of two graphs.
"""
