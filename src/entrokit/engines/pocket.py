from entrokit.moved import moved_module

__getattr__ = moved_module(__name__, "entrokit.training.pocket")
