"""One format a module, each read as a `Stream`; what is written appears whole or not at all."""
