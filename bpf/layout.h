/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the maps of services hold: the contract between the programs and whoever fills the maps.
 *
 * The names end in the version of this layout. A change of any struct here, or of what a field means, is a new
 * version with maps of its own; reconciler/kinds/bpf_map_entry/layout.py says the same in Python, and a test holds
 * both against the BTF of the built objects.
 *
 * Addresses are 16 bytes in network order, IPv4 ones as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2): one table serves both
 * families, and sockets of IPv6 that speak IPv4. Ports are in network order, everything else in the host's.
 */
#ifndef PLUMBLINE_LAYOUT_H
#define PLUMBLINE_LAYOUT_H

#define PL_VERSION 1

struct pl_addr {
	__u8 bytes[16];
} __attribute__((aligned(4))); /* changes no offset: it lets programs read words */

/* Who asks. */
enum pl_scope {
	PL_INSIDE = 0, /* pods and processes of this node, at their sockets */
	PL_OUTSIDE = 1, /* packets that come in by a device */
};

/* pl_front_1, hash: where a service is reached. */
struct pl_front {
	struct pl_addr addr;
	__be16 port;
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 scope; /* enum pl_scope */
};

enum pl_service_flags {
	PL_KEEP_CLIENT = 1, /* externalTrafficPolicy: Local: the source address stays as it is */
	PL_DROP_EMPTY = 2, /* without backends nothing is answered; else refused: another node may have some */
	PL_RANGED = 4, /* for clients of some networks: `id` is that of their ranges, and the count is 0; see pl_range */
};

struct pl_service {
	__u32 id; /* of the list of backends; several fronts may share one */
	__u32 count; /* backends: slots 0 to count - 1; 0: none is ready, or none is for everybody (PL_RANGED) */
	__u32 affinity; /* seconds that a client stays with its backend; 0: does not */
	__u32 flags; /* enum pl_service_flags */
};

/* pl_back_1, hash: the backends of a list. */
struct pl_slot {
	__u32 id;
	__u32 slot;
};

enum pl_backend_flags {
	PL_HERE = 1, /* a pod or process of this very node */
};

struct pl_backend {
	struct pl_addr addr;
	__be16 port;
	__u8 flags; /* enum pl_backend_flags */
	__u8 unused; /* 0 */
};

/* pl_count_1, percpu hash: by list; written by the programs alone. */
struct pl_count {
	__u64 connections; /* socket level: connects and first datagrams; device level: flows */
	__u64 packets; /* device level, both directions */
	__u64 bytes;
};

/* pl_drop_1, percpu array of __u64: packets and calls that went nowhere. */
enum pl_drop {
	PL_DROP_NO_BACKEND = 0,
	PL_DROP_NO_FIRST_FRAGMENT = 1,
	PL_DROP_MALFORMED = 2,
	PL_DROP_NO_PORT = 3, /* every source port tried is in use */
	PL_DROP_NO_SOURCE = 4, /* the kernel names no source address for the way out */
	PL_DROP_MAP_FULL = 5,
	PL_DROP_NO_FLOW = 6, /* from the midst of a flow that is not known, of either side; a client's is reset */
	PL_DROP_NO_RANGE = 7, /* no range of the front holds the client; nothing is answered */
	PL_DROP_REASONS = 8,
};

/* Program arrays, one for each hook: pl_j_connect4_1 does not fit into 15 bytes, so the hooks have short names. */
enum pl_device_slot {
	PL_SLOT_INGRESS = 0,
	PL_SLOT_EGRESS = 1,
	/* further ones are the device programs' own affair: a program that became too long for one verifier run */
	PL_SLOTS = 8,
};

/*
 * Loopback addresses (127.0.0.0/8, ::1) belong to each network namespace alone, so a front at one says which namespace
 * it means: its scope is PL_LOOPBACK, and the first eight bytes of its address, zero in all of them, are the
 * namespace's cookie in the host's order (SO_NETNS_COOKIE, socket(7); bpf_get_netns_cookie).
 */
enum { PL_LOOPBACK = 2 }; /* one more enum pl_scope */

/*
 * pl_range_1, LPM trie: the networks whose clients a front is for (loadBalancerSourceRanges), the value is nothing.
 *
 * Such a front says PL_RANGED, the id of its ranges, and no backend: so a program that knows nothing of ranges lets nobody
 * in. What its clients are led to is a front of scope PL_IN_RANGES, whose address is the id of the ranges (in the host's
 * order) and zeros, with the same port and protocol. An id is of the same ranges and fronts as long as it is of any: what
 * changes has another one, and the front that names it changes over at once.
 */
enum { PL_IN_RANGES = 3 }; /* one more enum pl_scope */

struct pl_range {
	__u32 bits; /* that count, of all that follow: 32 of the id, and the prefix length, of IPv4 96 more */
	__u32 id;
	struct pl_addr network;
};

/* A backend that was chosen. */
struct pl_chosen {
	struct pl_backend backend;
	__u32 slot; /* where it stood then; another one may have moved there since */
};

/* pl_affin_1, lru hash: with which backend a client stays. */
struct pl_client {
	struct pl_addr who; /* PL_INSIDE: the cookie of its network namespace, then zeros; PL_OUTSIDE: its address */
	__u32 id;
	__u32 scope; /* enum pl_scope */
};

struct pl_stay {
	__u64 since; /* nanoseconds of CLOCK_MONOTONIC: when it last connected */
	struct pl_chosen chosen;
};

/*
 * What sockets know of their peers. A key is a socket and an address that it speaks with.
 * pl_sockrev_1, lru hash, UDP: the peer is the backend; the value is the service as the socket named it.
 * pl_sockpeer_1, lru hash: the same for TCP, where it only serves getpeername: a map of its own, so that thousands of
 * connects per second do not push out what UDP sockets cannot do without.
 * pl_sockfwd_1, lru hash, UDP: the peer is the service; the value is the backend that the socket stays with.
 */
struct pl_peer {
	__u64 socket; /* its cookie: SO_COOKIE, socket(7) */
	struct pl_addr addr;
	__be16 port;
	__u8 unused[6]; /* 0 */
};

struct pl_named {
	struct pl_addr addr;
	__be16 port;
	__u8 unused[2]; /* 0 */
};

/*
 * What packets that come in by a device belong to. A flow has two pairs of ends that a packet can show where it comes in,
 * client -> front and backend -> source, and one between coming in and going out, client and backend. Each is a key of
 * its own, and holds the whole flow: whichever is left restores the others.
 */
struct pl_end {
	struct pl_addr addr;
	__be16 port;
	__u8 unused[2]; /* 0 */
};

enum pl_where {
	PL_COMES_IN = 0, /* as it is before its destination is rewritten */
	PL_IN_BETWEEN = 1, /* both directions, in one order: see in_order() of flow.h */
	PL_GOES_OUT = 2, /* pl_frag_1 alone: as it is before its source is rewritten */
};

/* pl_flow_1, lru hash. */
struct pl_tuple {
	struct pl_end from;
	struct pl_end to;
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 where; /* enum pl_where */
	__u8 unused[2]; /* 0 */
};

enum pl_flow_state {
	PL_ASKED = 0, /* nothing has come back */
	PL_ANSWERED = 1,
	PL_CLOSING = 2, /* TCP: a FIN or RST has passed */
};

enum pl_flow_flags {
	PL_BACKEND_HERE = 1, /* pl_backend_flags, PL_HERE */
	PL_CLIENT_KEPT = 2, /* pl_service_flags, PL_KEEP_CLIENT */
};

struct pl_flow {
	__u64 seen; /* nanoseconds of CLOCK_MONOTONIC: its last packet; this and the state are true at PL_IN_BETWEEN */
	__u32 id; /* of the list of backends */
	__u32 slot; /* where the backend stood when it was chosen */
	struct pl_end client;
	struct pl_end front;
	struct pl_end backend;
	struct pl_end source; /* what the backend sees as its client; port 0: the client itself */
	__u8 state; /* enum pl_flow_state */
	__u8 flags; /* enum pl_flow_flags */
	__u8 unused[6]; /* 0 */
};

/*
 * The source ports of flows: pl_flow's source. Above what net.ipv4.ip_local_port_range gives to this node's own sockets
 * (up to 60999), and above the ports of NodePort services; who changes one of these changes the other.
 */
#ifndef PL_SOURCE_PORTS
#define PL_SOURCE_PORTS 61000
#define PL_SOURCE_PORTS_END 65535
#endif

/* pl_frag_1, lru hash: the ports that the first fragment of a datagram named. */
struct pl_fragment {
	struct pl_addr from;
	struct pl_addr to;
	__u32 id; /* as in the header, IPv4's 16 bits too */
	__u8 proto;
	__u8 where; /* enum pl_where */
	__u8 unused[2]; /* 0 */
};

struct pl_ports {
	__u64 seen; /* nanoseconds of CLOCK_MONOTONIC: identifications come again */
	__be16 from;
	__be16 to;
	__u8 unused[4]; /* 0 */
};

#endif
