/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a packet says of itself.
 *
 * Bytes are copied out by the kernel's helper, never reached by pointers: it reads fragments of socket buffers too, and a
 * length that lies ends in an error instead of beyond the packet. Ethernet comes first, always: devices without it are
 * not for these programs, and are told by their frames, which then do not repeat the protocol at its place.
 */
#ifndef PLUMBLINE_PACKET_H
#define PLUMBLINE_PACKET_H

#include <linux/in6.h>

#include "services.h"

#define ETHERNET_LENGTH 14
#define ETHERTYPE_AT 12
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd

/*
 * Verified once, by itself, whoever calls it and how often. It takes what it is given by pointer for null until it has
 * looked, and what it is given by number for any number.
 */
#define VERIFIED_ALONE __attribute__((noinline))

#define OTHER_HOST 3 /* PACKET_OTHERHOST, linux/if_packet.h */

#define MOST_EXTENSIONS 8 /* a ninth header before the transport's: nobody's but an attacker's */

enum tcp_flags {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

struct ipv4_header { /* RFC 791 */
	__u8 version_length;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__be32 from;
	__be32 to;
};

struct ipv6_header { /* RFC 8200 */
	__be32 version_class_flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	struct pl_addr from;
	struct pl_addr to;
};

struct ipv6_extension { /* the fragment header whole, of the others what is needed of them */
	__u8 next;
	__u8 length;
	__be16 fragment; /* of a routing header: its type, and how many segments are left */
	__be32 id;
};

struct udp_header { /* RFC 768 */
	__be16 from;
	__be16 to;
	__be16 length;
	__u16 checksum;
};

struct tcp_header { /* RFC 9293 */
	__be16 from;
	__be16 to;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 length;
	__u8 flags;
	__be16 window;
	__u16 checksum;
	__be16 urgent;
};

struct icmp_header { /* RFC 792, RFC 4443: the quoted packet follows */
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 rest;
};

enum piece { WHOLE, FIRST, LATER };

/* One IP header: the packet's, or the one that an ICMP error quotes. */
struct ip {
	struct pl_addr from;
	struct pl_addr to;
	__u32 transport; /* where the transport's header is */
	__u32 end; /* behind the last byte, by what the header says */
	__u32 id;
	__u8 version;
	__u8 proto;
	__u8 piece; /* enum piece */
};

/* A packet as its flow sees it: of an ICMP error, the answer to the packet that it quotes. */
struct packet {
	struct pl_tuple tuple;
	__u32 transport;
	__u32 end; /* behind the last byte */
	__u32 quoted; /* where the IP header is that an ICMP error quotes; 0: it is no error */
	__u32 quoted_transport;
	__u32 id;
	__u8 version;
	__u8 piece; /* enum piece */
	__u8 tcp_flags;
};

enum reading {
	READ,
	NOT_FOR_US, /* neither TCP nor UDP, nor an error about them; or no IP at all */
	MALFORMED, /* but the tuple could be read */
	UNREADABLE, /* its ports are out of reach, of purpose */
	FIRST_UNKNOWN, /* a later fragment of nothing that is known */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct pl_fragment);
	__type(value, struct pl_ports);
} pl_frag_1 SEC(".maps");

#define FRAGMENTS_LAST (30 * NANOSECONDS) /* net.ipv4.ipfrag_time */

static __always_inline bool is_ours(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

static __noinline int read_ipv4(struct __sk_buff *skb, __u32 at, struct ip *ip)
{
	struct ipv4_header header;
	__u32 length, total;
	__u16 fragment;

	if (bpf_skb_load_bytes(skb, at, &header, sizeof(header)))
		return NOT_FOR_US;
	length = (header.version_length & 0x0f) * 4;
	total = bpf_ntohs(header.length);
	if (total == 0 && skb->gso_size)
		total = skb->len - at; /* more than 64 KiB at once (BIG TCP) */
	if (header.version_length >> 4 != 4 || length < sizeof(header) || total < length)
		return NOT_FOR_US; /* the kernel drops it */
	fragment = bpf_ntohs(header.fragment) & 0x3fff;
	ip->piece = fragment & 0x1fff ? LATER : fragment ? FIRST : WHOLE;
	ip->version = 4;
	ip->proto = header.protocol;
	ip->id = header.id;
	ip->transport = at + length;
	ip->end = at + total;
	pl_set_ipv4(&ip->from, header.from);
	pl_set_ipv4(&ip->to, header.to);
	return READ;
}

static __always_inline bool is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_FRAGMENT || proto == IPPROTO_DSTOPTS;
}

/* How long an extension header is, and what it makes of the packet. 0: nothing behind it is for this node to read. */
static __always_inline __u32 extension_length(const struct ipv6_extension *header, struct ip *ip)
{
	__u16 fragment = bpf_ntohs(header->fragment);

	switch (ip->proto) {
	case IPPROTO_ROUTING:
		if (fragment & 0xff)
			return 0; /* the destination is not the last one, and not what the checksum covers */
		return (header->length + 1) * 8;
	case IPPROTO_FRAGMENT:
		ip->id = header->id;
		ip->piece = fragment & 0xfff8 ? LATER : fragment & 1 ? FIRST : WHOLE;
		return 8;
	default:
		return (header->length + 1) * 8;
	}
}

static __noinline int read_ipv6(struct __sk_buff *skb, __u32 at, struct ip *ip)
{
	struct ipv6_header header;
	struct ipv6_extension extension;
	__u32 length;

	if (bpf_skb_load_bytes(skb, at, &header, sizeof(header)) || (bpf_ntohl(header.version_class_flow) >> 28) != 6)
		return NOT_FOR_US;
	ip->version = 6;
	ip->piece = WHOLE;
	ip->id = 0;
	ip->proto = header.next;
	ip->from = header.from;
	ip->to = header.to;
	ip->transport = at + sizeof(header);
	ip->end = ip->transport + bpf_ntohs(header.length);
	if (header.length == 0 && skb->gso_size)
		ip->end = skb->len;
	for (int extensions = 0; extensions <= MOST_EXTENSIONS; extensions++) {
		if (!is_extension(ip->proto))
			return READ;
		if (bpf_skb_load_bytes(skb, ip->transport, &extension, sizeof(extension)))
			return NOT_FOR_US;
		length = extension_length(&extension, ip);
		if (length == 0)
			return NOT_FOR_US;
		ip->transport += length;
		ip->proto = extension.next;
		if (ip->piece == LATER)
			return READ; /* what follows is the middle of something */
		if (ip->piece == FIRST)
			return is_extension(ip->proto) ? UNREADABLE : READ; /* the others do not say what they are of */
	}
	return UNREADABLE;
}

static __always_inline int read_ip(struct __sk_buff *skb, __u32 at, struct ip *ip)
{
	return skb->protocol == bpf_htons(ETHERTYPE_IPV4) ? read_ipv4(skb, at, ip) : read_ipv6(skb, at, ip);
}

static __always_inline bool is_error(const struct ip *ip, __u8 type)
{
	if (ip->version == 4) /* destination unreachable, time exceeded, parameter problem */
		return ip->proto == IPPROTO_ICMP && (type == 3 || type == 11 || type == 12);
	return ip->proto == IPPROTO_ICMPV6 && type >= 1 && type <= 4;
}

static __always_inline void fragment_key(const struct pl_tuple *tuple, __u32 id, __u8 where, struct pl_fragment *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->from = tuple->from.addr;
	key->to = tuple->to.addr;
	key->id = id;
	key->proto = tuple->proto;
	key->where = where;
}

/* That the ports of a datagram's other fragments are these. */
static __noinline void remember_fragment(const struct pl_tuple *tuple, __u32 id, __u8 where)
{
	struct pl_fragment key;
	struct pl_ports ports = { .seen = bpf_ktime_get_ns(), .from = tuple->from.port, .to = tuple->to.port };

	fragment_key(tuple, id, where, &key);
	bpf_map_update_elem(&pl_frag_1, &key, &ports, BPF_ANY);
	bpf_map_lookup_elem(&pl_frag_1, &key); /* see insert_flow() of flow.h */
}

static __noinline int recall_fragment(struct packet *packet, __u8 where)
{
	struct pl_fragment key;
	const struct pl_ports *ports;

	fragment_key(&packet->tuple, packet->id, where, &key);
	ports = bpf_map_lookup_elem(&pl_frag_1, &key);
	if (!ports || bpf_ktime_get_ns() - ports->seen > FRAGMENTS_LAST)
		return FIRST_UNKNOWN;
	packet->tuple.from.port = ports->from;
	packet->tuple.to.port = ports->to;
	return READ;
}

/* The ports, and whether the header before the data is whole and no longer than it may be. */
static __always_inline int read_transport(struct __sk_buff *skb, const struct ip *ip, struct packet *packet)
{
	struct tcp_header tcp;
	struct udp_header udp;

	if (ip->transport + 4 > ip->end || bpf_skb_load_bytes(skb, ip->transport, &udp, 4))
		return UNREADABLE; /* behind the end may be padding */
	packet->tuple.from.port = udp.from;
	packet->tuple.to.port = udp.to;
	if (ip->end > skb->len)
		return MALFORMED;
	if (ip->proto == IPPROTO_UDP) {
		if (ip->transport + sizeof(udp) > ip->end || bpf_skb_load_bytes(skb, ip->transport, &udp, sizeof(udp)))
			return MALFORMED;
		if (ip->piece == WHOLE && !skb->gso_size && ip->transport + bpf_ntohs(udp.length) > ip->end)
			return MALFORMED;
		return bpf_ntohs(udp.length) < sizeof(udp) && !skb->gso_size ? MALFORMED : READ;
	}
	if (ip->transport + sizeof(tcp) > ip->end || bpf_skb_load_bytes(skb, ip->transport, &tcp, sizeof(tcp)))
		return MALFORMED;
	packet->tcp_flags = tcp.flags;
	if ((tcp.length >> 4) * 4 < (int)sizeof(tcp) || ip->transport + (tcp.length >> 4) * 4 > ip->end)
		return MALFORMED;
	return READ;
}

/* An error belongs to the flow whose packet it quotes, and goes the other way. */
static __noinline int read_error(struct __sk_buff *skb, struct packet *packet)
{
	struct ip quoted = {};
	__be16 ports[2];

	if (read_ip(skb, packet->quoted, &quoted) != READ || !is_ours(quoted.proto) || quoted.piece == LATER)
		return NOT_FOR_US;
	if (bpf_skb_load_bytes(skb, quoted.transport, ports, sizeof(ports)))
		return NOT_FOR_US;
	packet->tuple.from.addr = quoted.to;
	packet->tuple.from.port = ports[1];
	packet->tuple.to.addr = quoted.from;
	packet->tuple.to.port = ports[0];
	packet->tuple.proto = quoted.proto;
	packet->quoted_transport = quoted.transport;
	return READ;
}

VERIFIED_ALONE int read_packet(struct __sk_buff *skb, __u8 where, struct packet *packet)
{
	struct ip ip = {};
	__be16 ethertype;
	__u8 type;
	int reading;

	if (!packet)
		return NOT_FOR_US;
	if (skb->protocol != bpf_htons(ETHERTYPE_IPV4) && skb->protocol != bpf_htons(ETHERTYPE_IPV6))
		return NOT_FOR_US;
	if (bpf_skb_load_bytes(skb, ETHERTYPE_AT, &ethertype, sizeof(ethertype)) || ethertype != skb->protocol)
		return NOT_FOR_US;
	reading = read_ip(skb, ETHERNET_LENGTH, &ip);
	if (reading == NOT_FOR_US)
		return NOT_FOR_US;
	packet->version = ip.version;
	packet->piece = ip.piece;
	packet->transport = ip.transport;
	packet->end = ip.end;
	packet->id = ip.id;
	packet->tuple.proto = ip.proto;
	packet->tuple.from.addr = ip.from;
	packet->tuple.to.addr = ip.to;
	if (reading == UNREADABLE)
		return UNREADABLE;
	if (is_ours(ip.proto))
		return ip.piece == LATER ? recall_fragment(packet, where) : read_transport(skb, &ip, packet);
	if (ip.piece != WHOLE || bpf_skb_load_bytes(skb, ip.transport, &type, sizeof(type)) || !is_error(&ip, type))
		return NOT_FOR_US;
	packet->quoted = ip.transport + sizeof(struct icmp_header);
	return read_error(skb, packet);
}

#endif
