/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Addresses and ports in a packet, and every checksum that covers them.
 *
 * Checksums are changed by the difference and never computed anew, so a wrong one stays wrong, and one that the device
 * is to complete stays half done. What the kernel knows of the packet's sum (CHECKSUM_COMPLETE) must stay true as well:
 * behind an IPv4 address lies a header checksum that makes up for it, behind an IPv6 one lies none, so for that the
 * store itself tells the kernel (BPF_F_RECOMPUTE_CSUM). The transport's checksum is told of addresses, which are not in
 * what it covers but in its pseudo header (BPF_F_PSEUDO_HDR), and of ports without.
 */
#ifndef PLUMBLINE_REWRITE_H
#define PLUMBLINE_REWRITE_H

#include "packet.h"

#define IPV4_CHECKSUM_AT 10
#define IPV4_FROM_AT 12
#define IPV4_TO_AT 16
#define IPV6_FROM_AT 8
#define IPV6_TO_AT 24
#define TCP_CHECKSUM_AT 16
#define UDP_CHECKSUM_AT 6
#define ICMP_CHECKSUM_AT 2
#define FROM_PORT_AT 0
#define TO_PORT_AT 2

enum side { FROM, TO };

/* A checksum that covers what is changed. */
struct cover {
	__u32 at; /* 0: there is none */
	__u32 flags; /* those of bpf_l4_csum_replace */
};

static __always_inline int store_address(struct __sk_buff *skb, __u32 header, __u8 version, enum side side,
					 const struct pl_addr *new, struct pl_addr *old, __u64 flags)
{
	__u32 at = header + (version == 4 ? (side == FROM ? IPV4_FROM_AT : IPV4_TO_AT) : (side == FROM ? IPV6_FROM_AT : IPV6_TO_AT));
	__be32 ip, was;

	if (version != 4)
		return bpf_skb_load_bytes(skb, at, old, sizeof(*old)) ||
		       bpf_skb_store_bytes(skb, at, new, sizeof(*new), flags);
	if (bpf_skb_load_bytes(skb, at, &was, sizeof(was)))
		return -1;
	pl_set_ipv4(old, was);
	ip = pl_ipv4(new);
	return bpf_skb_store_bytes(skb, at, &ip, sizeof(ip), 0) || bpf_l3_csum_replace(skb, header + IPV4_CHECKSUM_AT, was, ip, sizeof(ip));
}

/* One address of a packet's own header; both families are compared as 16 bytes: what they have in common adds nothing. */
static __noinline int set_address(struct __sk_buff *skb, __u8 version, enum side side, const struct pl_addr *new, const struct cover *cover)
{
	struct pl_addr old = {};
	__s64 difference;

	if (store_address(skb, ETHERNET_LENGTH, version, side, new, &old, BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (!cover->at)
		return 0;
	difference = bpf_csum_diff((__be32 *)&old, sizeof(old), (__be32 *)new, sizeof(*new), 0);
	return bpf_l4_csum_replace(skb, cover->at, 0, difference, BPF_F_PSEUDO_HDR | cover->flags);
}

static __always_inline int set_port(struct __sk_buff *skb, __u32 at, __be16 new, const struct cover *cover)
{
	__be16 old;

	if (bpf_skb_load_bytes(skb, at, &old, sizeof(old)) || bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0))
		return -1;
	return bpf_l4_csum_replace(skb, cover->at, old, new, sizeof(new) | cover->flags);
}

static __always_inline struct cover transport_cover(const struct packet *packet)
{
	struct cover cover = {};

	if (packet->quoted) {
		/* the checksum of ICMPv6 covers the addresses, that of ICMP does not */
		cover.at = packet->version == 6 ? packet->transport + ICMP_CHECKSUM_AT : 0;
	} else if (packet->piece != LATER) {
		cover.at = packet->transport + (packet->tuple.proto == IPPROTO_TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT);
		/* 0 is no checksum; it stays so, and no sum becomes it (RFC 768) */
		cover.flags = packet->tuple.proto == IPPROTO_TCP ? 0 : BPF_F_MARK_MANGLED_0;
	}
	return cover;
}

/* The checksum inside the quoted packet, as far as that was quoted: it covers the address and the port that change. */
static __always_inline int set_quoted_checksum(struct __sk_buff *skb, const struct packet *packet, const struct pl_end *old,
					       const struct pl_end *new, const struct cover *icmp)
{
	__u32 at = packet->quoted_transport + (packet->tuple.proto == IPPROTO_TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT);
	__u16 was, is;
	__s64 sum;

	if (bpf_skb_load_bytes(skb, at, &was, sizeof(was)) || (packet->tuple.proto == IPPROTO_UDP && was == 0))
		return 0;
	sum = bpf_csum_diff((__be32 *)old, sizeof(*old), (__be32 *)new, sizeof(*new), (__u16)~was);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	is = ~sum;
	if (is == 0 && packet->tuple.proto == IPPROTO_UDP)
		is = 0xffff;
	return bpf_skb_store_bytes(skb, at, &is, sizeof(is), 0) || bpf_l4_csum_replace(skb, icmp->at, was, is, sizeof(is));
}

/* The packet that an error quotes went the other way: its source is the destination of the answer to it. */
static __noinline int set_quoted(struct __sk_buff *skb, const struct packet *packet, enum side side, const struct pl_end *new)
{
	const struct pl_end *old = side == TO ? &packet->tuple.to : &packet->tuple.from;
	struct cover icmp = { .at = packet->transport + ICMP_CHECKSUM_AT };
	struct pl_addr was = {};

	if (store_address(skb, packet->quoted, packet->version, side == TO ? FROM : TO, &new->addr, &was, 0))
		return -1;
	if (packet->version == 6 &&
	    bpf_l4_csum_replace(skb, icmp.at, 0, bpf_csum_diff((__be32 *)&was, sizeof(was), (__be32 *)&new->addr, sizeof(was), 0), 0))
		return -1;
	if (set_port(skb, packet->quoted_transport + (side == TO ? FROM_PORT_AT : TO_PORT_AT), new->port, &icmp))
		return -1;
	return set_quoted_checksum(skb, packet, old, new, &icmp);
}

/*
 * The one end of a packet becomes another one; of an error, in what it quotes as well. The sender of an error is not
 * the end that is spoken with, mostly: it takes that name all the same, for nobody outside knows the one that it has.
 */
VERIFIED_ALONE int set_end(struct __sk_buff *skb, const struct packet *packet, enum side side, const struct pl_end *new)
{
	struct cover cover;

	if (!packet || !new)
		return -1;
	cover = transport_cover(packet);
	if (packet->quoted && set_quoted(skb, packet, side, new))
		return -1;
	if (set_address(skb, packet->version, side, &new->addr, &cover))
		return -1;
	if (packet->quoted || packet->piece == LATER)
		return 0;
	return set_port(skb, packet->transport + (side == TO ? TO_PORT_AT : FROM_PORT_AT), new->port, &cover);
}

#endif
