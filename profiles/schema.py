"""Protobuf schemas of XPlane and HLO metadata, built at run time.

No wheel ships `xplane_pb2`, so the messages are declared here as tables and handed to protobuf as descriptors (works with protobuf 5 to 7).
Field numbers: openxla/xla `third_party/tsl/tsl/profiler/protobuf/xplane.proto` and `xla/service/hlo.proto`. Only fields that we read are
declared; protobuf skips the others, so files of newer JAX versions still parse. Events are not declared: `profiles.columns` decodes them
in bulk.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tuner_profiles"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_BYTES,  # bytes on the wire: a hostile file may hold text that is not UTF-8, see `text`
    "bytes": _Field.TYPE_BYTES,
}

# message -> field -> (number, type); a type ending in [] is repeated. The value of an XStat is a oneof in the original; presence is what
# matters.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "XStat": {
        "metadata_id": (1, "int64"),
        "double_value": (2, "double"),
        "uint64_value": (3, "uint64"),
        "int64_value": (4, "int64"),
        "str_value": (5, "string"),
        "bytes_value": (6, "bytes"),
        "ref_value": (7, "uint64"),
    },
    "XEventMetadata": {"id": (1, "int64"), "name": (2, "string"), "display_name": (4, "string"), "stats": (5, "XStat[]")},
    "XStatMetadata": {"id": (1, "int64"), "name": (2, "string")},
    "EventMetadataEntry": {"key": (1, "int64"), "value": (2, "XEventMetadata")},
    "StatMetadataEntry": {"key": (1, "int64"), "value": (2, "XStatMetadata")},
    "OpMetadata": {
        "op_type": (1, "string"),
        "op_name": (2, "string"),
        "source_file": (3, "string"),
        "source_line": (4, "int64"),
        "stack_frame_id": (15, "int64"),
    },
    "FileLocation": {"function_name_id": (2, "int64")},
    "StackFrame": {"file_location_id": (1, "int64"), "parent_frame_id": (2, "int64")},
    "StackFrames": {"function_names": (2, "string[]"), "file_locations": (3, "FileLocation[]"), "stack_frames": (4, "StackFrame[]")},
    "Layout": {"memory_space": (8, "int64")},  # 0: HBM
    "Shape": {"element_type": (2, "int64"), "dimensions": (3, "int64[]"), "tuple_shapes": (4, "Shape[]"), "layout": (5, "Layout")},
    "DotDimensions": {"lhs_contracting": (1, "int64[]")},
    "WindowDimension": {
        "size": (1, "int64"),
        "stride": (2, "int64"),
        "padding_low": (3, "int64"),
        "window_dilation": (5, "int64"),
        "base_dilation": (6, "int64"),
    },
    "Window": {"dimensions": (1, "WindowDimension[]")},
    "ConvolutionDimensions": {
        "kernel_input_feature": (3, "int64"),
        "input_batch": (7, "int64"),
        "output_feature": (10, "int64"),
        "input_spatial": (11, "int64[]"),
        "output_spatial": (12, "int64[]"),
        "output_batch": (9, "int64"),
    },
    "HloInstruction": {
        "name": (1, "string"),
        "opcode": (2, "string"),
        "shape": (3, "Shape"),
        "metadata": (7, "OpMetadata"),
        "parameter_number": (9, "int64"),
        "window": (15, "Window"),
        "convolution": (16, "ConvolutionDimensions"),
        "dot": (30, "DotDimensions"),
        "id": (35, "int64"),
        "operand_ids": (36, "int64[]"),
        "called_computation_ids": (38, "int64[]"),
        "backend_config": (43, "bytes"),
        "replica_groups": (49, "ReplicaGroup[]"),
        "collective_device_list": (87, "CollectiveDeviceList"),
    },
    "MemoryAccess": {"memory_space": (2, "uint64"), "bytes_accessed": (3, "uint64")},  # xprof's op_metrics.proto
    "MemoryAccessBreakdown": {"accesses": (1, "MemoryAccess[]")},
    "ReplicaGroup": {"replica_ids": (1, "int64[]")},
    "IotaReplicaGroups": {"num_devices_per_group": (2, "int64")},
    "CollectiveDeviceList": {"replica_groups": (1, "ReplicaGroup[]"), "iota_replica_group_list": (2, "IotaReplicaGroups")},
    "DeviceAssignment": {"replica_count": (1, "int64"), "computation_count": (2, "int64")},
    "HloComputation": {"name": (1, "string"), "instructions": (2, "HloInstruction[]"), "id": (5, "int64"), "root_id": (6, "int64")},
    "HloModule": {
        "name": (1, "string"),
        "computations": (3, "HloComputation[]"),
        "entry_computation_id": (6, "int64"),
        "id": (5, "int64"),
        "device_assignment": (15, "DeviceAssignment"),
        "stack_frame_index": (17, "StackFrames"),
    },
    "HloProto": {"hlo_module": (1, "HloModule")},
}


def _descriptor() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto2")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            base = kind.removesuffix("[]")
            field = message.field.add(name=field_name, number=number)
            field.label = _Field.LABEL_REPEATED if kind.endswith("[]") else _Field.LABEL_OPTIONAL
            if base in _SCALARS:
                field.type = _SCALARS[base]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{base}"
    return file


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_descriptor())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


_CLASSES = _classes()
XStat: Any = _CLASSES["XStat"]
XEventMetadata: Any = _CLASSES["XEventMetadata"]
EventMetadataEntry: Any = _CLASSES["EventMetadataEntry"]
StatMetadataEntry: Any = _CLASSES["StatMetadataEntry"]
HloProto: Any = _CLASSES["HloProto"]
HloModule: Any = _CLASSES["HloModule"]
MemoryAccessBreakdown: Any = _CLASSES["MemoryAccessBreakdown"]
HBM = 1  # MemoryAccess.memory_space


def number(message: str, field: str) -> int:
    """The field's number on the wire."""
    return _MESSAGES[message][field][0]


def text(value: bytes) -> str:
    """Text of a wire string; bytes that are not UTF-8 become replacement characters."""
    return value.decode("utf-8", "replace")


# Structure that we walk ourselves instead of parsing: (field numbers of the enclosing messages).
XSPACE_PLANES, XSPACE_ERRORS, XSPACE_WARNINGS, XSPACE_HOSTNAMES = 1, 2, 3, 4
XPLANE_NAME, XPLANE_LINES, XPLANE_EVENT_METADATA, XPLANE_STAT_METADATA, XPLANE_STATS = 2, 3, 4, 5, 6
XLINE_ID, XLINE_NAME, XLINE_TIMESTAMP_NS, XLINE_EVENTS, XLINE_DISPLAY_NAME = 1, 2, 3, 4, 11
XEVENT_METADATA_ID, XEVENT_OFFSET_PS, XEVENT_DURATION_PS, XEVENT_STATS = 1, 2, 3, 4
