"""Layers: embedding, EGCL with GVP transition, equivariant temporal attention, equivariant transformer."""
