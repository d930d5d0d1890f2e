/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Flows that begin, and those whose beginning was forgotten. */
#ifndef PLUMBLINE_BEGIN_H
#define PLUMBLINE_BEGIN_H

#include "flow.h"

#define CLASHES 4
#define BACKENDS_ASKED 64

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pl_range);
	__type(value, __u32);
} pl_range_1 SEC(".maps");

static __always_inline bool is_in_ranges(__u32 id, const struct pl_addr *who)
{
	struct pl_range key;

	key.bits = 8 * (sizeof(key.id) + sizeof(key.network));
	key.id = id;
	key.network = *who;
	return bpf_map_lookup_elem(&pl_range_1, &key);
}

static __always_inline bool find_in_ranges(__u32 id, __be16 port, __u8 proto, struct pl_service *service)
{
	struct pl_front key = { .port = port, .proto = proto, .scope = PL_IN_RANGES };

	__builtin_memcpy(key.addr.bytes, &id, sizeof(id));
	return pl_find(&key, service);
}

/*
 * What a front leads a client to; false: none is there. One that is in none of its ranges gets the front itself, which
 * says PL_RANGED and has no backend. Ranges go as soon as the front names others, so a look that was too late for them is
 * taken again, and only what the same ranges say twice is believed.
 */
VERIFIED_ALONE bool find_service(const struct pl_end *front, const struct pl_end *client, __u8 proto, struct pl_service *service)
{
	struct pl_front key = {};
	__u32 missed = 0;

	if (!front || !client || !service)
		return false;
	key.addr = front->addr;
	key.port = front->port;
	key.proto = proto;
	key.scope = PL_OUTSIDE;
#pragma clang loop unroll(disable)
	for (int try = 0; try < PL_TRIES; try++) {
		if (!pl_find(&key, service))
			return false;
		if (!(service->flags & PL_RANGED) || (try && service->id == missed))
			return true;
		missed = service->id;
		PL_PAUSE(try);
		if (is_in_ranges(missed, &client->addr) && find_in_ranges(missed, key.port, proto, service))
			return true;
	}
	__builtin_memset(service, 0, sizeof(*service));
	service->flags = PL_RANGED;
	return true;
}

/* Whether the front still leads to the backend of the flow, wherever that stands in its list now. */
VERIFIED_ALONE bool still_leads(const struct pl_flow *flow, __u8 proto)
{
	struct pl_service service;
	struct pl_chosen chosen = {};

	if (!flow)
		return false;
	chosen.slot = flow->slot;
	chosen.backend.addr = flow->backend.addr;
	chosen.backend.port = flow->backend.port;
	return find_service(&flow->front, &flow->client, proto, &service) && pl_still(&service, &chosen);
}

VERIFIED_ALONE bool choose(const struct pl_addr *who, const struct pl_service *service, struct pl_chosen *chosen)
{
	struct pl_client client = { .scope = PL_OUTSIDE };

	if (!who || !service || !chosen)
		return false;
	client.who = *who;
	return pl_choose(service, bpf_get_prandom_u32(), &client, chosen);
}

static __always_inline void fill_flow(struct pl_flow *flow, const struct pl_tuple *tuple, const struct pl_service *service,
				      const struct pl_chosen *chosen)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->seen = bpf_ktime_get_ns();
	flow->id = service->id;
	flow->slot = chosen->slot;
	flow->client = tuple->from;
	flow->front = tuple->to;
	flow->backend.addr = chosen->backend.addr;
	flow->backend.port = chosen->backend.port;
	if (chosen->backend.flags & PL_HERE)
		flow->flags |= PL_BACKEND_HERE;
	if (service->flags & PL_KEEP_CLIENT)
		flow->flags |= PL_CLIENT_KEPT;
}

enum claim { CLAIMED, CLASH, NO_ROOM };

/*
 * Client and backend for this flow alone. A flow that is already theirs by the same front lost what pointed to it, or
 * is followed by another one of the same ends: it goes on, with the source that the backend knows.
 */
VERIFIED_ALONE int claim(struct pl_flow *flow, __u8 proto)
{
	struct pl_flow *heart;
	long error;

	if (!flow)
		return NO_ROOM;
	error = store_flow(PL_IN_BETWEEN, proto, &flow->client, &flow->backend, flow, BPF_NOEXIST);
	if (!error)
		return CLAIMED;
	heart = flow_between(proto, &flow->client, &flow->backend);
	if (!heart)
		return NO_ROOM;
	if (same_end(&heart->front, &flow->front) && same_end(&heart->client, &flow->client)) {
		flow->source = heart->source;
		heart->seen = flow->seen;
		heart->state = PL_ASKED;
		return CLAIMED;
	}
	if (!is_over(heart, proto, true))
		return CLASH;
	forget_flow(PL_IN_BETWEEN, proto, &flow->client, &flow->backend);
	error = store_flow(PL_IN_BETWEEN, proto, &flow->client, &flow->backend, flow, BPF_NOEXIST);
	return error ? NO_ROOM : CLAIMED;
}

/* Another backend where client and backend speak already, by another front: their packets could not be told apart. */
static __always_inline int claim_any(const struct pl_tuple *tuple, const struct pl_service *service, struct pl_chosen *chosen,
				struct pl_flow *flow)
{
	int claimed = CLASH;

	for (int tried = 0; tried < CLASHES; tried++) {
		fill_flow(flow, tuple, service, chosen);
		claimed = claim(flow, tuple->proto);
		if (claimed != CLASH || !pl_any(service, bpf_get_prandom_u32(), chosen))
			break;
	}
	return claimed;
}

/* Of two packets that begin a flow at once, on two CPUs, both belong to the one whose entry was there first. */
static __always_inline bool is_first(const struct pl_tuple *tuple, struct pl_flow *flow)
{
	return !insert_flow(tuple, flow, BPF_NOEXIST) || flow_at(tuple, flow);
}

/* A new flow; false: it cannot be, and why is counted. */
VERIFIED_ALONE bool open_flow(const struct pl_tuple *tuple, const struct pl_service *service, struct pl_chosen *chosen,
			      struct pl_flow *flow)
{
	int claimed;

	if (!tuple || !service || !chosen || !flow)
		return false;
	claimed = claim_any(tuple, service, chosen, flow);
	if (claimed == CLAIMED && !is_first(tuple, flow))
		claimed = NO_ROOM;
	if (claimed != CLAIMED)
		pl_drop(claimed == CLASH ? PL_DROP_NO_PORT : PL_DROP_MAP_FULL);
	return claimed == CLAIMED;
}

struct lost {
	const struct pl_tuple *tuple;
	struct pl_flow *flow;
	__u32 id;
	bool found;
};

static long ask_backend(__u32 slot, struct lost *lost)
{
	struct pl_backend backend;
	struct pl_end end = {};
	const struct pl_flow *heart;

	if (!pl_backend_at(lost->id, slot, &backend))
		return 0;
	end.addr = backend.addr;
	end.port = backend.port;
	heart = flow_between(lost->tuple->proto, &lost->tuple->from, &end);
	if (!heart)
		return 0;
	*lost->flow = *heart;
	lost->found = same_end(&lost->flow->client, &lost->tuple->from) && same_end(&lost->flow->front, &lost->tuple->to);
	return lost->found;
}

/* The flow of a packet from the midst of it, whose own entry has gone: with one of the backends it still speaks. */
VERIFIED_ALONE bool find_again(const struct pl_tuple *tuple, const struct pl_service *service, struct pl_flow *flow)
{
	struct lost lost = { .tuple = tuple, .flow = flow };

	if (!tuple || !service || !flow)
		return false;
	lost.id = service->id;
	bpf_loop(service->count < BACKENDS_ASKED ? service->count : BACKENDS_ASKED, ask_backend, &lost, 0);
	if (!lost.found)
		return false;
	store_flow(PL_COMES_IN, tuple->proto, &flow->client, &flow->front, flow, BPF_NOEXIST);
	return true;
}

#endif
