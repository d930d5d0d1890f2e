/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Flows: which they are, where their entries stand, and how long they last.
 *
 * The entry in between is the flow; those of packets that come in only point to it, and are made again from it, as it
 * is from them. The kernel may throw away any of them when the map is full, and gives its memory to another flow while
 * a program still reads it: so an entry is copied, and believed only if it answers to the key that it was found by.
 */
#ifndef PLUMBLINE_FLOW_H
#define PLUMBLINE_FLOW_H

#include "packet.h"

/* How long a flow keeps what others want to have, its source port above all. Nothing else ends it. */
#define ASKED_LASTS (60 * NANOSECONDS)
#define ANSWERED_LASTS (24 * 3600 * NANOSECONDS)
#define CLOSING_LASTS (60 * NANOSECONDS)
#define UDP_ASKED_LASTS (30 * NANOSECONDS)
#define UDP_ANSWERED_LASTS (180 * NANOSECONDS)

#define LOOKED_AT_EVERY NANOSECONDS /* the time is written, and a UDP flow's backend looked for in its list */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct pl_tuple);
	__type(value, struct pl_flow);
} pl_flow_1 SEC(".maps");

static __always_inline bool same_end(const struct pl_end *one, const struct pl_end *other)
{
	return one->port == other->port && pl_same_addr(&one->addr, &other->addr);
}

/* Any order will do that is the same in both directions. */
static __always_inline bool in_order(const struct pl_end *one, const struct pl_end *other)
{
	__u64 a[2], b[2];

	__builtin_memcpy(a, one->addr.bytes, sizeof(a));
	__builtin_memcpy(b, other->addr.bytes, sizeof(b));
	if (a[0] != b[0])
		return a[0] < b[0];
	if (a[1] != b[1])
		return a[1] < b[1];
	return one->port < other->port;
}

static __always_inline void key_of(__u8 where, __u8 proto, const struct pl_end *from, const struct pl_end *to, struct pl_tuple *key)
{
	bool turned = where == PL_IN_BETWEEN && !in_order(from, to);

	__builtin_memset(key, 0, sizeof(*key));
	key->from = turned ? *to : *from;
	key->to = turned ? *from : *to;
	key->proto = proto;
	key->where = where;
}

static __always_inline bool is_between(const struct pl_end *a, const struct pl_end *b, const struct pl_end *c, const struct pl_end *d)
{
	return same_end(a, c) && same_end(b, d);
}

static __always_inline bool answers_to(const struct pl_flow *flow, const struct pl_tuple *key)
{
	if (key->where == PL_COMES_IN)
		return is_between(&key->from, &key->to, &flow->client, &flow->front) ||
		       is_between(&key->from, &key->to, &flow->backend, &flow->source);
	return is_between(&key->from, &key->to, &flow->client, &flow->backend) ||
	       is_between(&key->from, &key->to, &flow->backend, &flow->client);
}

VERIFIED_ALONE bool flow_at(const struct pl_tuple *key, struct pl_flow *flow)
{
	const struct pl_flow *found;

	if (!key || !flow)
		return false;
	found = bpf_map_lookup_elem(&pl_flow_1, key);
	if (!found)
		return false;
	*flow = *found;
	return answers_to(flow, key);
}

static __always_inline struct pl_flow *flow_between(__u8 proto, const struct pl_end *one, const struct pl_end *other)
{
	struct pl_tuple key;

	key_of(PL_IN_BETWEEN, proto, one, other, &key);
	return bpf_map_lookup_elem(&pl_flow_1, &key);
}

/*
 * An entry that nobody has looked up since it was made goes first when the map is full: in a flood of flows that would
 * be the newest, before the packet that made it has left. So each is looked up once, and the oldest goes first.
 */
static __always_inline long insert_flow(const struct pl_tuple *key, const struct pl_flow *flow, __u64 how)
{
	long error = bpf_map_update_elem(&pl_flow_1, key, flow, how);

	if (!error)
		bpf_map_lookup_elem(&pl_flow_1, key);
	return error;
}

static __always_inline long store_flow(__u8 where, __u8 proto, const struct pl_end *from, const struct pl_end *to,
				       const struct pl_flow *flow, __u64 how)
{
	struct pl_tuple key;

	key_of(where, proto, from, to, &key);
	return insert_flow(&key, flow, how);
}

static __always_inline void forget_flow(__u8 where, __u8 proto, const struct pl_end *from, const struct pl_end *to)
{
	struct pl_tuple key;

	key_of(where, proto, from, to, &key);
	bpf_map_delete_elem(&pl_flow_1, &key);
}

/* Whether what a flow holds may be given to another one; with `pressed`, also as soon as it closes. */
static __always_inline bool is_over(const struct pl_flow *flow, __u8 proto, bool pressed)
{
	__u64 idle = bpf_ktime_get_ns() - flow->seen, lasts;

	if (flow->state == PL_CLOSING)
		lasts = pressed ? 0 : CLOSING_LASTS;
	else if (flow->state == PL_ANSWERED)
		lasts = proto == IPPROTO_TCP ? ANSWERED_LASTS : UDP_ANSWERED_LASTS;
	else
		lasts = proto == IPPROTO_TCP ? ASKED_LASTS : UDP_ASKED_LASTS;
	return idle > lasts;
}

/*
 * The flow itself, by one of the entries that point to it; made again from that one if it is gone.
 * Null: client and backend belong to a flow by another front now, or the map takes nothing.
 */
static __always_inline struct pl_flow *heart_of(const struct pl_flow *flow, __u8 proto)
{
	struct pl_flow *heart = flow_between(proto, &flow->client, &flow->backend);

	if (!heart) {
		store_flow(PL_IN_BETWEEN, proto, &flow->client, &flow->backend, flow, BPF_NOEXIST);
		heart = flow_between(proto, &flow->client, &flow->backend);
	}
	return heart && same_end(&heart->front, &flow->front) && same_end(&heart->client, &flow->client) ? heart : 0;
}

/* What a packet of either side tells of its flow; a time that is nearly right is not written again. */
static __always_inline void watch(struct pl_flow *heart, const struct packet *packet, bool from_backend)
{
	__u64 now = bpf_ktime_get_ns();

	if (now - heart->seen > LOOKED_AT_EVERY)
		heart->seen = now;
	if (packet->tuple.proto == IPPROTO_TCP && packet->tcp_flags & (TCP_FIN | TCP_RST)) {
		if (heart->state != PL_CLOSING) {
			heart->seen = now;
			heart->state = PL_CLOSING;
		}
	} else if (from_backend && heart->state == PL_ASKED) {
		heart->state = PL_ANSWERED;
	}
}

#endif
