// SPDX-License-Identifier: GPL-2.0-only
/* imq: creation of devices, their index, and the module */

#include <linux/ctype.h>
#include <linux/if_link.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/xarray.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/rtnetlink.h>

#include "imq.h"

#define IMQ_MAX_DEVS	(NF_IMQ_INDEX_MAX + 1)
#define IMQ_MAX_QUEUES	4096	/* as rtnl_create_link() */

static unsigned int numdevs = CONFIG_IMQ_NUM_DEVS;
module_param(numdevs, uint, 0444);
MODULE_PARM_DESC(numdevs, "devices made at load, imq0 and up (0-65536, default "
		 __stringify(CONFIG_IMQ_NUM_DEVS) ")");

static unsigned int numqueues = 1;
module_param(numqueues, uint, 0444);
MODULE_PARM_DESC(numqueues, "tx queues of each of them (1-4096, 0: one for each CPU; default 1)");

/**
 * struct imq_net - devices of a namespace
 * @devs: by index; written under RTNL, read under RCU
 * @missing_logged: bit 0: it has been logged, since a device came or went, that
 *	packets ask for one that is not there
 */
struct imq_net {
	struct xarray			devs;
	unsigned long			missing_logged;
};

static unsigned int imq_net_id __read_mostly;

static struct net_device *imq_find(const struct net *net, u16 index)
{
	struct imq_net *inet = net_generic(net, imq_net_id);

	return xa_load(&inet->devs, index);
}

static void imq_missing(struct net *net, u16 index)
{
	struct imq_net *inet = net_generic(net, imq_net_id);

	if (!test_bit(0, &inet->missing_logged) && net_ratelimit() &&
	    !test_and_set_bit(0, &inet->missing_logged))
		pr_warn("imq: no device with index %u in this namespace, packets pass unshaped\n",
			index);
}

static const struct nf_imq_ops imq_nf_ops = {
	.find		= imq_find,
	.missing	= imq_missing,
	.count		= imq_count,
	.purge		= imq_cells_purge,
	.link_ops	= &imq_link_ops,
};

/* Index */

/* Takes the index given by the user, else the one in the name, else the lowest
 * free one. A name that was @generated means none that is in use.
 */
static int imq_index_choose(struct net *net, const char *name, bool generated,
			    const struct nlattr *attr,
			    struct netlink_ext_ack *extack)
{
	unsigned int index;

	if (attr) {
		index = nla_get_u32(attr);
		if (imq_find(net, index)) {
			NL_SET_ERR_MSG_ATTR_FMT(extack, attr,
						"index %u is in use", index);
			return -EEXIST;
		}
		return index;
	}

	if (!strncmp(name, "imq", 3) && isdigit(name[3]) &&
	    !kstrtouint(name + 3, 10, &index) &&
	    index <= NF_IMQ_INDEX_MAX) {
		if (!imq_find(net, index))
			return index;
		if (!generated) {
			NL_SET_ERR_MSG_FMT(extack,
					   "index %u, as the name says, is in use: give another one",
					   index);
			return -EEXIST;
		}
	}

	for (index = 0; index <= NF_IMQ_INDEX_MAX; index++)
		if (!imq_find(net, index))
			return index;

	NL_SET_ERR_MSG(extack, "all indexes (0-65535) are in use");

	return -ENOSPC;
}

/* Room for it in the tree is reserved. */
static void imq_index_set(struct net *net, u16 index, struct net_device *dev)
{
	struct imq_net *inet = net_generic(net, imq_net_id);

	if (dev)
		xa_store(&inet->devs, index, dev, GFP_KERNEL);
	else
		xa_erase(&inet->devs, index);
	nf_imq_set_device(net, index, dev);
	clear_bit(0, &inet->missing_logged);
}

/**
 * imq_index_release - nobody finds the device by its index any more
 * @dev: imq device
 *
 * Whoever has found it uses it for the rest of an RCU section.
 */
void imq_index_release(struct net_device *dev)
{
	struct imq_net *inet = net_generic(dev_net(dev), imq_net_id);
	struct imq_dev *imq = netdev_priv(dev);

	ASSERT_RTNL();
	/* Another one has the index, if this one was never registered. */
	if (xa_load(&inet->devs, imq->index) == dev)
		imq_index_set(dev_net(dev), imq->index, NULL);
}

/* A device is found by its index only once it can be freed by RCU. */
static int imq_register(struct net_device *dev, u16 index)
{
	struct imq_net *inet = net_generic(dev_net(dev), imq_net_id);
	struct imq_dev *imq = netdev_priv(dev);
	int err;

	err = xa_reserve(&inet->devs, index, GFP_KERNEL_ACCOUNT);
	if (err)
		return err;

	imq->index = index;
	err = register_netdevice(dev);
	if (err) {
		xa_release(&inet->devs, index);
		return err;
	}
	imq_index_set(dev_net(dev), index, dev);

	return 0;
}

/* rtnetlink */

static const struct netlink_range_validation imq_index_range = {
	.max	= NF_IMQ_INDEX_MAX,
};

static const struct nla_policy imq_policy[IFLA_IMQ_MAX + 1] = {
	[IFLA_IMQ_INDEX]	= NLA_POLICY_FULL_RANGE(NLA_U32, &imq_index_range),
};

static int imq_newlink(struct net *src_net, struct net_device *dev,
		       struct nlattr *tb[], struct nlattr *data[],
		       struct netlink_ext_ack *extack)
{
	bool generated = strchr(dev->name, '%');
	int index, err;

	if (generated) {
		err = dev_alloc_name(dev, dev->name);
		if (err < 0)
			return err;
	}

	index = imq_index_choose(dev_net(dev), dev->name, generated,
				 data ? data[IFLA_IMQ_INDEX] : NULL, extack);
	if (index < 0)
		return index;

	return imq_register(dev, index);
}

static int imq_changelink(struct net_device *dev, struct nlattr *tb[],
			  struct nlattr *data[],
			  struct netlink_ext_ack *extack)
{
	const struct imq_dev *imq = netdev_priv(dev);

	if (data && data[IFLA_IMQ_INDEX] &&
	    nla_get_u32(data[IFLA_IMQ_INDEX]) != imq->index) {
		NL_SET_ERR_MSG_ATTR(extack, data[IFLA_IMQ_INDEX],
				    "index can't be changed, rules use it");
		return -EOPNOTSUPP;
	}

	return 0;
}

static size_t imq_get_size(const struct net_device *dev)
{
	return nla_total_size(sizeof(u32));	/* IFLA_IMQ_INDEX */
}

static int imq_fill_info(struct sk_buff *skb, const struct net_device *dev)
{
	const struct imq_dev *imq = netdev_priv(dev);

	return nla_put_u32(skb, IFLA_IMQ_INDEX, imq->index);
}

static size_t imq_get_xstats_size(const struct net_device *dev)
{
	/* IFLA_IMQ_XSTATS_* */
	return NF_IMQ_COUNTERS * nla_total_size(sizeof(u64));
}

/* Packets that entered and left are in the common statistics. */
static int imq_fill_xstats(struct sk_buff *skb, const struct net_device *dev)
{
	static const u8 attr[NF_IMQ_COUNTERS] = {
		[NF_IMQ_BYPASS_DOWN]	= IFLA_IMQ_XSTATS_BYPASS_DOWN,
		[NF_IMQ_BYPASS_NOMEM]	= IFLA_IMQ_XSTATS_BYPASS_NOMEM,
		[NF_IMQ_BYPASS_UNFIT]	= IFLA_IMQ_XSTATS_BYPASS_UNFIT,
		[NF_IMQ_DROP_DEV]	= IFLA_IMQ_XSTATS_DROP_DEV,
		[NF_IMQ_DROP_HOOK]	= IFLA_IMQ_XSTATS_DROP_HOOK,
		[NF_IMQ_DROP_SOCK]	= IFLA_IMQ_XSTATS_DROP_SOCK,
		[NF_IMQ_FOREIGN]	= IFLA_IMQ_XSTATS_FOREIGN,
		[NF_IMQ_RING_FULL]	= IFLA_IMQ_XSTATS_RING_FULL,
	};
	u64 counter[NF_IMQ_COUNTERS];
	struct nlattr *nest;
	int i;

	imq_counters(netdev_priv(dev), counter);
	nest = nla_nest_start(skb, IFLA_INFO_XSTATS);
	if (!nest)
		return -EMSGSIZE;

	for (i = 0; i < NF_IMQ_COUNTERS; i++) {
		if (nla_put_uint(skb, attr[i], counter[i])) {
			nla_nest_cancel(skb, nest);
			return -EMSGSIZE;
		}
	}
	nla_nest_end(skb, nest);

	return 0;
}

struct rtnl_link_ops imq_link_ops __read_mostly = {
	.kind		= "imq",
	.maxtype	= IFLA_IMQ_MAX,
	.policy		= imq_policy,
	.priv_size	= sizeof(struct imq_dev),
	.setup		= imq_setup,
	.newlink	= imq_newlink,
	.changelink	= imq_changelink,
	.get_size	= imq_get_size,
	.fill_info	= imq_fill_info,
	.get_xstats_size = imq_get_xstats_size,
	.fill_xstats	= imq_fill_xstats,
};

/* Module */

static int __net_init imq_net_init(struct net *net)
{
	struct imq_net *inet = net_generic(net, imq_net_id);

	xa_init(&inet->devs);

	return 0;
}

static void __net_exit imq_net_exit(struct net *net)
{
	struct imq_net *inet = net_generic(net, imq_net_id);

	xa_destroy(&inet->devs);
}

static struct pernet_operations imq_net_ops = {
	.init	= imq_net_init,
	.exit	= imq_net_exit,
	.id	= &imq_net_id,
	.size	= sizeof(struct imq_net),
};

static int __init imq_check_params(void)
{
	if (numdevs > IMQ_MAX_DEVS) {
		pr_err("imq: numdevs=%u is out of range (0-%u)\n", numdevs,
		       IMQ_MAX_DEVS);
		return -EINVAL;
	}
	if (numqueues > IMQ_MAX_QUEUES) {
		pr_err("imq: numqueues=%u is out of range (0-%u)\n", numqueues,
		       IMQ_MAX_QUEUES);
		return -EINVAL;
	}

	return 0;
}

static int __init imq_create(u16 index)
{
	unsigned int queues = numqueues ?: num_possible_cpus();
	struct net_device *dev;
	char name[IFNAMSIZ];
	int err;

	if (imq_find(&init_net, index))
		return -EEXIST;

	snprintf(name, sizeof(name), "imq%u", index);
	dev = alloc_netdev_mqs(sizeof(struct imq_dev), name, NET_NAME_ENUM,
			       imq_setup, queues, 1);
	if (!dev)
		return -ENOMEM;

	err = imq_register(dev, index);
	if (err)
		free_netdev(dev);

	return err;
}

static int __init imq_create_all(void)
{
	unsigned int i;
	int err = 0;

	rtnl_lock();
	for (i = 0; i < numdevs && !err; i++) {
		err = imq_create(i);
		/* Since the link type is there, somebody may have been faster. */
		if (err == -EEXIST) {
			pr_warn("imq: imq%u is not made: its name or index is in use\n",
				i);
			err = 0;
		}
		cond_resched();
	}
	rtnl_unlock();

	return err;
}

static int __init imq_module_init(void)
{
	int err;

	err = imq_check_params();
	if (err)
		return err;

	err = imq_cells_init();
	if (err)
		return err;

	err = register_pernet_subsys(&imq_net_ops);
	if (err)
		goto exit_cells;

	err = rtnl_link_register(&imq_link_ops);
	if (err)
		goto unregister_pernet;

	err = imq_create_all();
	if (err)
		goto unregister_link;

	nf_imq_register(&imq_nf_ops);

	return 0;

unregister_link:
	rtnl_link_unregister(&imq_link_ops);
unregister_pernet:
	unregister_pernet_subsys(&imq_net_ops);
exit_cells:
	imq_cells_exit();

	return err;
}

static void __exit imq_module_exit(void)
{
	nf_imq_unregister();
	rtnl_link_unregister(&imq_link_ops);
	unregister_pernet_subsys(&imq_net_ops);
	imq_cells_exit();
}

module_init(imq_module_init);
module_exit(imq_module_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("IMQ developers <imq@localhost>");
MODULE_DESCRIPTION("Intermediate queueing device");
MODULE_ALIAS_RTNL_LINK("imq");
