"""Reading an asset: who may, which blocks are here, and fetching the others once for everybody."""
