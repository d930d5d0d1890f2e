/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the node itself would do: its routes and its sockets. */
#ifndef PLUMBLINE_NODE_H
#define PLUMBLINE_NODE_H

#include "flow.h"

#define AF_INET 2
#define AF_INET6 10

/* linux/bpf.h of 6.3 and 6.7: skip the neighbour, tell the source. Older kernels refuse to look up, and are told by that. */
#define SOURCE_OF_OUTPUT (BPF_FIB_LOOKUP_OUTPUT | 1U << 2 | 1U << 4)

#define PORTS_TRIED 32
#define PORTS_TRIED_PRESSED 16 /* from this one on, ports of flows that are closing will do */

static __always_inline int look_up_route(struct __sk_buff *skb, const struct pl_addr *from, const struct pl_addr *to,
					 struct bpf_fib_lookup *route, __u32 flags)
{
	route->ifindex = skb->ifindex;
	if (pl_is_ipv4(to)) {
		route->family = AF_INET;
		route->ipv4_dst = pl_ipv4(to);
		route->ipv4_src = from ? pl_ipv4(from) : 0;
	} else {
		route->family = AF_INET6;
		__builtin_memcpy(route->ipv6_dst, to->bytes, sizeof(to->bytes));
		if (from)
			__builtin_memcpy(route->ipv6_src, from->bytes, sizeof(from->bytes));
	}
	return bpf_fib_lookup(skb, route, sizeof(*route), flags);
}

/* Whether a packet that comes in goes no further than this node. */
VERIFIED_ALONE bool ends_here(struct __sk_buff *skb, const struct pl_tuple *tuple)
{
	struct bpf_fib_lookup route = {};
	int found;

	if (!tuple)
		return false;
	found = look_up_route(skb, &tuple->from.addr, &tuple->to.addr, &route, 0);
	return found == BPF_FIB_LKUP_RET_NOT_FWDED || found == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* The address that this node itself would speak from, on the device where the packet leaves. */
static __noinline bool source_address(struct __sk_buff *skb, const struct pl_addr *to, struct pl_addr *source)
{
	struct bpf_fib_lookup route = {};

	if (look_up_route(skb, 0, to, &route, SOURCE_OF_OUTPUT) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	if (route.family == AF_INET) {
		pl_set_ipv4(source, route.ipv4_src);
		return route.ipv4_src != 0;
	}
	__builtin_memcpy(source->bytes, route.ipv6_src, sizeof(source->bytes));
	return true;
}

/* Both ends as the kernel's own look-ups want them; how long they are then. */
static __always_inline __u32 fill_ends(const struct pl_tuple *tuple, struct bpf_sock_tuple *ends)
{
	if (pl_is_ipv4(&tuple->to.addr)) {
		ends->ipv4.saddr = pl_ipv4(&tuple->from.addr);
		ends->ipv4.daddr = pl_ipv4(&tuple->to.addr);
		ends->ipv4.sport = tuple->from.port;
		ends->ipv4.dport = tuple->to.port;
		return sizeof(ends->ipv4);
	}
	__builtin_memcpy(ends->ipv6.saddr, tuple->from.addr.bytes, sizeof(ends->ipv6.saddr));
	__builtin_memcpy(ends->ipv6.daddr, tuple->to.addr.bytes, sizeof(ends->ipv6.daddr));
	ends->ipv6.sport = tuple->from.port;
	ends->ipv6.dport = tuple->to.port;
	return sizeof(ends->ipv6);
}

/* Whether a socket of this node waits for such a packet. */
static __noinline bool has_socket(struct __sk_buff *skb, const struct pl_tuple *tuple)
{
	struct bpf_sock_tuple ends = {};
	__u32 size = fill_ends(tuple, &ends);
	struct bpf_sock *found;

	if (tuple->proto == IPPROTO_TCP)
		found = bpf_skc_lookup_tcp(skb, &ends, size, BPF_F_CURRENT_NETNS, 0);
	else
		found = bpf_sk_lookup_udp(skb, &ends, size, BPF_F_CURRENT_NETNS, 0);
	if (!found)
		return false;
	bpf_sk_release(found);
	return true;
}

/* Connection tracking's own view (net/netfilter/nf_conntrack_bpf.c); kernels without it have no other translation. */
struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

struct nf_conn {
	unsigned long status; /* of all that it has */
};

extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *ends, __u32 ends_size, struct bpf_ct_opts *options,
					 __u32 options_size) __ksym __weak;
extern void bpf_ct_release(struct nf_conn *found) __ksym __weak;

/* Whether connection tracking knows such a packet: a masquerade may have drawn a port of ours. */
static __noinline bool is_tracked(struct __sk_buff *skb, const struct pl_tuple *tuple)
{
	struct bpf_ct_opts options = { .netns_id = -1, .l4proto = tuple->proto };
	struct bpf_sock_tuple ends = {};
	struct nf_conn *found;

	if (!bpf_skb_ct_lookup || !bpf_ct_release)
		return false;
	found = bpf_skb_ct_lookup(skb, &ends, fill_ends(tuple, &ends), &options, sizeof(options));
	if (!found)
		return false;
	bpf_ct_release(found);
	return true;
}

/* Whether a port that is taken is taken in name only. */
static __always_inline bool is_vacant(const struct pl_tuple *answer, bool pressed)
{
	const struct pl_flow *holder = bpf_map_lookup_elem(&pl_flow_1, answer), *heart;

	if (!holder)
		return true;
	heart = flow_between(answer->proto, &holder->client, &holder->backend);
	if (!heart || (heart->source.port && !same_end(&heart->source, &answer->to)))
		return true;
	return is_over(heart, answer->proto, pressed);
}

/* One port for a flow: its own where the answers to it are nobody else's. */
VERIFIED_ALONE bool take_port(struct __sk_buff *skb, struct pl_flow *flow, __u8 proto, bool pressed)
{
	struct pl_tuple answer;
	__u32 ports = PL_SOURCE_PORTS_END - PL_SOURCE_PORTS + 1;

	if (!flow)
		return false;
	flow->source.port = bpf_htons(PL_SOURCE_PORTS + bpf_get_prandom_u32() % ports);
	key_of(PL_COMES_IN, proto, &flow->backend, &flow->source, &answer);
	if (has_socket(skb, &answer))
		return false;
	if (!insert_flow(&answer, flow, BPF_NOEXIST))
		return true;
	if (!is_vacant(&answer, pressed))
		return false;
	bpf_map_delete_elem(&pl_flow_1, &answer);
	return !insert_flow(&answer, flow, BPF_NOEXIST);
}

/* The mark of a backend that answers to source ports of this node: a key that no packet has, for it names no port. */
static __always_inline void mark_of(__u8 proto, const struct pl_end *backend, const struct pl_end *source, struct pl_tuple *key)
{
	key_of(PL_COMES_IN, proto, backend, source, key);
	key->to.port = 0;
}

/*
 * Whether a packet is an answer whose flow is forgotten. The node would reset it, and end what the client's next packet
 * can mend. It must come from a backend that this node has asked, to a port that only flows have, and be expected by no
 * socket and no other translation.
 */
VERIFIED_ALONE bool is_orphan(struct __sk_buff *skb, const struct pl_tuple *tuple)
{
	struct pl_tuple key;

	if (!tuple || bpf_ntohs(tuple->to.port) < PL_SOURCE_PORTS || bpf_ntohs(tuple->to.port) > PL_SOURCE_PORTS_END)
		return false;
	mark_of(tuple->proto, &tuple->from, &tuple->to, &key);
	return bpf_map_lookup_elem(&pl_flow_1, &key) && !has_socket(skb, tuple) && !is_tracked(skb, tuple);
}

/* The end that the backend is to see as its client; false: there is none, and why is counted. */
VERIFIED_ALONE bool take_source(struct __sk_buff *skb, struct pl_flow *flow, __u8 proto)
{
	struct pl_end none = {};

	if (!flow)
		return false;
	flow->source = none;
	if (!source_address(skb, &flow->backend.addr, &flow->source.addr)) {
		pl_drop(PL_DROP_NO_SOURCE);
		return false;
	}
	for (int tried = 0; tried < PORTS_TRIED; tried++)
		if (take_port(skb, flow, proto, tried >= PORTS_TRIED_PRESSED))
			return true;
	pl_drop(PL_DROP_NO_PORT);
	return false;
}

#endif
