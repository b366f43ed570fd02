// SPDX-License-Identifier: GPL-2.0-only
/* xt_IMQ - iptables target that sends packets through an imq device
 *
 * The target only marks a packet and lets it continue, so the last match wins.
 * A hook at the place that the parameter "behavior" names queues what is marked.
 * A namespace has those hooks that its rules with the target need.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_IMQ.h>
#include <linux/skbuff.h>
#include <net/net_namespace.h>
#include <net/netfilter/nf_imq.h>
#include <net/netns/generic.h>

MODULE_LICENSE("GPL");
MODULE_AUTHOR("IMQ developers <imq@localhost>");
MODULE_DESCRIPTION("Xtables: send packets through an intermediate queueing device");
MODULE_ALIAS("ipt_IMQ");
MODULE_ALIAS("ip6t_IMQ");

#if defined(CONFIG_IMQ_BEHAVIOR_AA)
#define XT_IMQ_BEHAVIOR	"AA"
#elif defined(CONFIG_IMQ_BEHAVIOR_BA)
#define XT_IMQ_BEHAVIOR	"BA"
#elif defined(CONFIG_IMQ_BEHAVIOR_BB)
#define XT_IMQ_BEHAVIOR	"BB"
#else
#define XT_IMQ_BEHAVIOR	"AB"
#endif

static char *behavior = XT_IMQ_BEHAVIOR;
module_param(behavior, charp, 0444);
MODULE_PARM_DESC(behavior,
		 "PREROUTING, POSTROUTING: A after NAT, B before (default " XT_IMQ_BEHAVIOR ")");

static char *hook_chains[NF_INET_NUMHOOKS];
static unsigned int num_hook_chains;
module_param_array(hook_chains, charp, &num_hook_chains, 0444);
MODULE_PARM_DESC(hook_chains, "chains to queue in, instead of behavior: INPUT,FORWARD");

static char *hook_tables[NF_INET_NUMHOOKS];
static unsigned int num_hook_tables;
module_param_array(hook_tables, charp, &num_hook_tables, 0444);
MODULE_PARM_DESC(hook_tables, "for each of hook_chains, the table to queue behind: mangle,mangle");

enum {
	XT_IMQ_IPV4,
	XT_IMQ_IPV6,
	XT_IMQ_FAMILIES,
};

/* Filled from the parameters at load, then only read. */
static struct nf_hook_ops xt_imq_ops[XT_IMQ_FAMILIES][NF_INET_NUMHOOKS];
static unsigned int xt_imq_num_ops __ro_after_init;

/**
 * struct xt_imq_hooks - hooks of a family in a namespace
 * @rules: rules with the target
 * @registered: bits of those of xt_imq_ops that are registered
 */
struct xt_imq_hooks {
	unsigned int	rules;
	unsigned long	registered;
};

struct xt_imq_net {
	struct xt_imq_hooks hooks[XT_IMQ_FAMILIES];	/* xt_imq_mutex */
};

static unsigned int xt_imq_net_id __read_mostly;

/* Serialises the registration of the hooks with the count of the rules. */
static DEFINE_MUTEX(xt_imq_mutex);

/* The hook */

static unsigned int xt_imq_hook(void *priv, struct sk_buff *skb,
				const struct nf_hook_state *state)
{
	u16 index;

	if (!nf_imq_take_mark(state->net, skb, &index))
		return NF_ACCEPT;

	return nf_imq_verdict(index);
}

static void xt_imq_unregister(struct net *net, unsigned int family)
{
	struct xt_imq_net *xnet = net_generic(net, xt_imq_net_id);
	struct xt_imq_hooks *hooks = &xnet->hooks[family];
	unsigned int i;

	for_each_set_bit(i, &hooks->registered, xt_imq_num_ops)
		nf_unregister_net_hook(net, &xt_imq_ops[family][i]);
	hooks->registered = 0;
}

/* What is marked in a chain is taken by the hook behind the chain's table. Only if
 * there is none, other hooks see the mark. Without hook_mask, the chain may be
 * called from any.
 */
static unsigned long xt_imq_needed(unsigned int hook_mask)
{
	const struct nf_hook_ops *ops = xt_imq_ops[XT_IMQ_IPV4];
	const unsigned long all = GENMASK(xt_imq_num_ops - 1, 0);
	unsigned long hooknum, mask = hook_mask, needed = 0;
	unsigned int i;

	for_each_set_bit(hooknum, &mask, NF_INET_NUMHOOKS) {
		unsigned long own = 0;

		for (i = 0; i < xt_imq_num_ops; i++)
			if (ops[i].hooknum == hooknum &&
			    ops[i].priority > NF_IP_PRI_MANGLE)
				own |= BIT(i);
		needed |= own ?: all;
	}

	return needed ?: all;
}

static int xt_imq_hooks_get(struct net *net, unsigned int family,
			    unsigned int hook_mask)
{
	struct xt_imq_net *xnet = net_generic(net, xt_imq_net_id);
	struct xt_imq_hooks *hooks = &xnet->hooks[family];
	unsigned long missing;
	unsigned int i;
	int err = 0;

	mutex_lock(&xt_imq_mutex);
	missing = xt_imq_needed(hook_mask) & ~hooks->registered;
	for_each_set_bit(i, &missing, xt_imq_num_ops) {
		err = nf_register_net_hook(net, &xt_imq_ops[family][i]);
		if (err)
			break;
		hooks->registered |= BIT(i);
	}
	if (!err)
		hooks->rules++;
	else if (!hooks->rules)
		xt_imq_unregister(net, family);
	mutex_unlock(&xt_imq_mutex);

	return err;
}

static void xt_imq_hooks_put(struct net *net, unsigned int family)
{
	struct xt_imq_net *xnet = net_generic(net, xt_imq_net_id);

	mutex_lock(&xt_imq_mutex);
	if (!--xnet->hooks[family].rules)
		xt_imq_unregister(net, family);
	mutex_unlock(&xt_imq_mutex);
}

/* The target */

static unsigned int xt_imq_tg(struct sk_buff *skb,
			      const struct xt_action_param *par)
{
	const struct xt_imq_info *info = par->targinfo;

	nf_imq_mark(xt_net(par), skb, info->todev);

	return XT_CONTINUE;
}

static unsigned int xt_imq_family(u8 family)
{
	return family == NFPROTO_IPV4 ? XT_IMQ_IPV4 : XT_IMQ_IPV6;
}

static int xt_imq_tg_check(const struct xt_tgchk_param *par)
{
	const struct xt_imq_info *info = par->targinfo;

	if (info->todev > NF_IMQ_INDEX_MAX) {
		pr_info_ratelimited("todev %u is out of range (0-%u)\n",
				    info->todev, NF_IMQ_INDEX_MAX);
		return -EINVAL;
	}

	return xt_imq_hooks_get(par->net, xt_imq_family(par->family),
				par->hook_mask);
}

static void xt_imq_tg_destroy(const struct xt_tgdtor_param *par)
{
	xt_imq_hooks_put(par->net, xt_imq_family(par->family));
}

static struct xt_target xt_imq_tg_reg[] __read_mostly = {
	{
		.name		= "IMQ",
		.family		= NFPROTO_IPV4,
		.table		= "mangle",
		.target		= xt_imq_tg,
		.targetsize	= sizeof(struct xt_imq_info),
		.checkentry	= xt_imq_tg_check,
		.destroy	= xt_imq_tg_destroy,
		.me		= THIS_MODULE,
	},
	{
		.name		= "IMQ",
		.family		= NFPROTO_IPV6,
		.table		= "mangle",
		.target		= xt_imq_tg,
		.targetsize	= sizeof(struct xt_imq_info),
		.checkentry	= xt_imq_tg_check,
		.destroy	= xt_imq_tg_destroy,
		.me		= THIS_MODULE,
	},
};

/* Parameters */

static void __init xt_imq_add_hook(unsigned int hooknum, int priority)
{
	static const u8 pf[XT_IMQ_FAMILIES] __initconst = {
		[XT_IMQ_IPV4] = NFPROTO_IPV4,
		[XT_IMQ_IPV6] = NFPROTO_IPV6,
	};
	unsigned int i;

	for (i = 0; i < XT_IMQ_FAMILIES; i++)
		xt_imq_ops[i][xt_imq_num_ops] = (struct nf_hook_ops) {
			.hook		= xt_imq_hook,
			.pf		= pf[i],
			.hooknum	= hooknum,
			.priority	= priority,
		};
	xt_imq_num_ops++;
}

/* B is behind the mangle table and before dstnat on PREROUTING, before srcnat
 * on POSTROUTING. A is behind the NAT; on POSTROUTING before the last hooks
 * nevertheless, which confirm the connection.
 */
static int __init xt_imq_parse_behavior(void)
{
	const char *b = behavior;

	if (strlen(b) != 2 || !strchr("AB", b[0]) || !strchr("AB", b[1])) {
		pr_err("behavior=%s: must be AA, AB, BA or BB\n", b);
		return -EINVAL;
	}

	xt_imq_add_hook(NF_INET_PRE_ROUTING, b[0] == 'A' ?
			NF_IP_PRI_NAT_DST + 1 : NF_IP_PRI_MANGLE + 1);
	xt_imq_add_hook(NF_INET_POST_ROUTING, b[1] == 'A' ?
			NF_IP_PRI_NAT_SRC + 1 : NF_IP_PRI_NAT_SRC - 1);

	return 0;
}

/* Order is that of enum nf_inet_hooks. */
static const char * const xt_imq_chains[NF_INET_NUMHOOKS] __initconst = {
	"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING",
};

static int __init xt_imq_table_priority(const char *table, unsigned int hooknum,
					int *priority)
{
	if (!strcmp(table, "raw"))
		*priority = NF_IP_PRI_RAW;
	else if (!strcmp(table, "mangle"))
		*priority = NF_IP_PRI_MANGLE;
	else if (!strcmp(table, "filter"))
		*priority = NF_IP_PRI_FILTER;
	else if (!strcmp(table, "nat"))
		*priority = hooknum == NF_INET_PRE_ROUTING ||
			    hooknum == NF_INET_LOCAL_OUT ? NF_IP_PRI_NAT_DST :
							   NF_IP_PRI_NAT_SRC;
	else
		return -EINVAL;

	return 0;
}

static int __init xt_imq_parse_chains(void)
{
	int i, priority, hooknum;

	if (num_hook_chains != num_hook_tables) {
		pr_err("hook_chains names %u chains and hook_tables %u tables: must be as many\n",
		       num_hook_chains, num_hook_tables);
		return -EINVAL;
	}

	for (i = 0; i < num_hook_chains; i++) {
		hooknum = match_string(xt_imq_chains, NF_INET_NUMHOOKS,
				       hook_chains[i]);
		if (hooknum < 0) {
			pr_err("hook_chains: %s is not PREROUTING, INPUT, FORWARD, OUTPUT or POSTROUTING\n",
			       hook_chains[i]);
			return -EINVAL;
		}
		if (xt_imq_table_priority(hook_tables[i], hooknum, &priority)) {
			pr_err("hook_tables: %s is not raw, mangle, nat or filter\n",
			       hook_tables[i]);
			return -EINVAL;
		}
		xt_imq_add_hook(hooknum, priority + 1);
	}

	return 0;
}

static struct pernet_operations xt_imq_net_ops = {
	.id	= &xt_imq_net_id,
	.size	= sizeof(struct xt_imq_net),
};

static int __init xt_imq_tg_init(void)
{
	int err;

	err = num_hook_chains || num_hook_tables ? xt_imq_parse_chains() :
						   xt_imq_parse_behavior();
	if (err)
		return err;

	err = register_pernet_subsys(&xt_imq_net_ops);
	if (err)
		return err;

	err = xt_register_targets(xt_imq_tg_reg, ARRAY_SIZE(xt_imq_tg_reg));
	if (err)
		unregister_pernet_subsys(&xt_imq_net_ops);

	return err;
}

static void __exit xt_imq_tg_exit(void)
{
	xt_unregister_targets(xt_imq_tg_reg, ARRAY_SIZE(xt_imq_tg_reg));
	unregister_pernet_subsys(&xt_imq_net_ops);
}

module_init(xt_imq_tg_init);
module_exit(xt_imq_tg_exit);
