from pcodec import standalone as standalone

class DeltaSpec:
    @staticmethod
    def no_op() -> DeltaSpec: ...
    @staticmethod
    def try_consecutive(order: int) -> DeltaSpec: ...

class ChunkConfig:
    def __init__(self, compression_level: int = ..., delta_spec: DeltaSpec = ...) -> None: ...
