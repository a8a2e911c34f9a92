"""The whole XSpace schema as protobuf messages, events included: to write profiles, and to read them by another method than the product's.

Source: openxla/xla `third_party/tsl/tsl/profiler/protobuf/xplane.proto`. Deliberately separate from `profiles.schema`, which an oracle
must not use.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_KINDS = {"i": _F.TYPE_INT64, "u": _F.TYPE_UINT64, "d": _F.TYPE_DOUBLE, "s": _F.TYPE_STRING, "b": _F.TYPE_BYTES}
_XSPACE = {
    "XSpace": "planes:1:XPlane* errors:2:s* warnings:3:s* hostnames:4:s*",
    "XPlane": "id:1:i name:2:s lines:3:XLine* event_metadata:4:EventEntry* stat_metadata:5:StatEntry* stats:6:XStat*",
    "EventEntry": "key:1:i value:2:XEventMetadata",
    "StatEntry": "key:1:i value:2:XStatMetadata",
    "XLine": "id:1:i name:2:s timestamp_ns:3:i events:4:XEvent* duration_ps:9:i display_id:10:i display_name:11:s",
    "XEvent": "metadata_id:1:i offset_ps:2:i duration_ps:3:i stats:4:XStat* num_occurrences:5:i",
    "XStat": "metadata_id:1:i double_value:2:d uint64_value:3:u int64_value:4:i str_value:5:s bytes_value:6:b ref_value:7:u",
    "XEventMetadata": "id:1:i name:2:s metadata:3:b display_name:4:s stats:5:XStat* child_id:6:i*",
    "XStatMetadata": "id:1:i name:2:s description:3:s",
    "HloProto": "hlo_module:1:HloModuleProto",
    "HloModuleProto": "name:1:s computations:3:HloComputationProto* id:5:i device_assignment:15:DeviceAssignment",
    "HloComputationProto": "name:1:s instructions:2:HloInstructionProto* id:5:i",
    "HloInstructionProto": "name:1:s opcode:2:s metadata:7:OpMetadata id:35:i operand_ids:36:i* called_computation_ids:38:i* "
    "replica_groups:49:ReplicaGroup* collective_device_list:87:CollectiveDevices",
    "ReplicaGroup": "replica_ids:1:i*",
    "CollectiveDevices": "replica_groups:1:ReplicaGroup* iota_replica_group_list:2:IotaGroups",
    "IotaGroups": "num_replica_groups:1:i num_devices_per_group:2:i",
    "DeviceAssignment": "replica_count:1:i computation_count:2:i",
    "OpMetadata": "op_type:1:s op_name:2:s",
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto2")
    for name, fields in _XSPACE.items():
        message = file.message_type.add(name=name)
        for spec in fields.split():
            field_name, number, kind = spec.split(":")
            label = _F.LABEL_REPEATED if kind.endswith("*") else _F.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=int(number), label=label)
            base = kind.rstrip("*")
            field.type = _KINDS.get(base, _F.TYPE_MESSAGE)
            if base not in _KINDS:
                field.type_name = f".oracle.{base}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"oracle.{name}")) for name in _XSPACE}


_CLASSES = _build()
XSpace: Any = _CLASSES["XSpace"]
HloProto: Any = _CLASSES["HloProto"]
