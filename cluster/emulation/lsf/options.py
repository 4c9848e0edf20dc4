"""The options of bsub, and what each is good for here.  Data."""

from __future__ import annotations

from cluster.emulation.lsf.getopt import table

__all__ = ["BSUB", "INERT", "USAGE"]

BSUB = table(
    "h V x H r rn B N notify I Ip Is IS ISp ISs IX XF K Zs ti ptl ul tty jsdl_strict",
    "J Jd o oo e eo n W We M R q P G cwd env w b t c F f D S C T v p k m u L U app g i is E Ep Q "
    "sp sla Lp wa wt gpu a ar data datagrp eptl freq hostfile jsdl mig nnodes network "
    "outdir pack rcacct rnc s stage clusters csm alloc_flags cn_cu cn_mem core_isolation smt "
    "step_cgroup jobaff yaml json",
)
# What has no effect here, and would have one on a real cluster.
INERT = ("f", "k", "pack", "jsdl", "jsdl_strict", "U", "data", "stage", "clusters", "yaml", "json")

# Of OpenLava, as it prints it; the options of LSF 10.1 beyond it are taken, too.
USAGE = """\
Usage: bsub [-h] [-V] [-x] [-H] [-r] [-N] [-B] [-I | -K | -Ip | -Is]
\t\t[-L login_shell] [-c cpu_limit[/host_spec]] [-F file_limit]
\t\t[-W run_limit[/host_spec]] [-k chkpnt_dir [chkpnt_period] [method=chkpnt_dir]]
\t\t[-P project_name]\x20
\t\t[-q queue_name ...]  [-R res_req]
\t\t[-m "host_name[+[pref_level]] | host_group[+[pref_level]]...]"
\t\t[-n min_processors[,max_processors]] [-J job_name]
\t\t[-b begin_time] [-t term_time] [-u mail_user]
\t\t[-i in_file | -is in_file] [-o out_file] [-e err_file]
\t\t[-M mem_limit]  [-D data_limit]  [-S stack_limit]
\t\t[[-f "lfile op [rfile]"] ...] [-w depend_cond]
\t\t[-E "pre_exec_command [argument ...]"] [-Zs]
\t\t[-sp job_priority]
\t\t[command [argument ...]]
\t\t[-a additional_esub_information]
"""
