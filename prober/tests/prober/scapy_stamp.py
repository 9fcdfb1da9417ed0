"""STAMP by people who have never seen meshprobe: scapy's packets, in both roles.

    scapy_stamp.py sender FROM TO PORT SSID    sends five requests and looks at the replies
    scapy_stamp.py reflector IP PORT           answers what arrives until it is stopped

Packets are made and taken apart by scapy alone, and what was taken apart is put together again: the same octets must come out.
The exit code is 1 as soon as anything is not as RFC 8762 and RFC 8972 say.
"""

import socket
import sys
import time

from scapy.contrib.stamp import (
    ErrorEstimate,
    STAMPSessionReflectorTestUnauthenticated as Reply,
    STAMPSessionSenderTestUnauthenticated as Request,
    STAMPTestTLV,
)
from scapy.layers.inet import UDP

UNRECOGNISED = 0x80  # Scapy's names of the flags count from the other end than the RFC does.
EXTRA_PADDING = 1
T1 = 0x1112_1314_8000_0000


def take_apart(layout, octets):
    """The packet in these octets, if they are what its fields say, octet by octet."""
    packet = layout(octets, _parent=UDP(len=8 + len(octets)))
    again = packet.copy()
    again.clear_cache()
    expect("the octets that its fields make", bytes(again), octets)
    return packet


def expect(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r} instead of {expected!r}")


def ntp_now():
    return time.time() + 2_208_988_800


def padding(octets):
    return STAMPTestTLV(flags=UNRECOGNISED, type=EXTRA_PADDING, len=len(octets), value=octets)


# By their TLVs.
REQUESTS = [[], [], [], [padding(b"")], [padding(b"\x55" * 60), padding(b"abc")]]


def send(source, target, port, ssid):
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind((source, 0))
    wire.settimeout(10)
    wire.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 77)
    numbers = []
    for seq, tlvs in enumerate(REQUESTS, start=5):
        estimate = ErrorEstimate(S=1, Z=0, scale=3, multiplier=4)
        request = bytes(Request(seq=seq, ts=T1 / 2**32, err_estimate=estimate, ssid=ssid, tlv_objects=tlvs))
        wire.sendto(request, (target, port))
        octets, answerer = wire.recvfrom(65_536)
        expect("the answerer", answerer, (target, port))
        expect("the length of the reply", len(octets), len(request))
        reply = take_apart(Reply, octets)
        expect("the sender's number", reply.seq_sender, seq)
        expect("the sender's T1", reply.getfieldval("ts_sender"), T1)
        expect("the sender's error estimate", bytes(reply.err_estimate_sender), bytes(estimate))
        expect("the sender's TTL", reply.ttl_sender, 77)
        expect("octets that must be zero", (reply.mbz1, reply.mbz2), (0, 0))
        expect("the format of T3", reply.err_estimate.Z, 0)
        received, sent = reply.getfieldval("ts_rx"), reply.getfieldval("ts")
        if not received <= sent <= received + 2**32:
            sys.exit(f"T3 {sent:#x} is not in the second after T2 {received:#x}")
        # A TLV that the reflector knows comes back as it was, without the mark that nobody knows it.
        expect(
            "the TLVs",
            [(int(tlv.flags), tlv.type, tlv.len, tlv.value) for tlv in reply.tlv_objects],
            [(0, tlv.type, tlv.len, tlv.value) for tlv in tlvs],
        )
        numbers.append(reply.seq)
    # A stateful reflector counts what it answers in a session; packets that test a size are no part of that, and have the
    # sender's number, as from a stateless one.
    expect("the reflector's numbers", numbers, [0, 1, 2, 8, 9])
    print("sender: five replies")


def reflect(address, port):
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind((address, port))
    print("reflector: ready", flush=True)
    sent = 0
    while True:
        octets, asker = wire.recvfrom(65_536)
        received_at = ntp_now()
        request = take_apart(Request, octets)
        reply = Reply(
            seq=sent,
            ts=ntp_now(),
            err_estimate=ErrorEstimate(S=0, Z=0, scale=0, multiplier=1),
            ssid=request.ssid,
            ts_rx=received_at,
            seq_sender=request.seq,
            ts_sender=request.ts,
            err_estimate_sender=request.err_estimate,
            ttl_sender=64,
            tlv_objects=request.tlv_objects,
        )
        wire.sendto(bytes(reply), asker)
        sent += 1


role, *arguments = sys.argv[1:]
if role == "sender":
    source, target, port, ssid = arguments
    send(source, target, int(port), int(ssid))
else:
    address, port = arguments
    reflect(address, int(port))
