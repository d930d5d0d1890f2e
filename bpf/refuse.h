#ifndef PLUMBLINE_REFUSE_H
#define PLUMBLINE_REFUSE_H
#include "node.h"
static __noinline int refuse(struct __sk_buff *skb, const struct packet *packet) { return TC_ACT_SHOT; }
#endif
