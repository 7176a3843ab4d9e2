#!/bin/sh
# A SLURM of one node on this machine, for tests: its own configuration, keys, ports and state in FOLDER, nothing in /etc.
#
#     scripts/one_node_slurm.sh start FOLDER     # prints the variables that clients need: eval "$(...)"
#     scripts/one_node_slurm.sh stop FOLDER
#
# It needs Debian's packages slurm-wlm and munge (apt install slurm-wlm munge) and, as they start jobs for users, root. Jobs over
# their memory are found by looking every second; with SLURM's own cgroups they would be stopped at once.
set -eu
PATH=$PATH:/usr/sbin:/sbin

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
command=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export SLURM_CONF="$folder/slurm.conf"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

configure() {
    mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
    chmod 700 "$folder/munge"
    head -c 1024 /dev/urandom > "$folder/munge/munge.key"
    chmod 400 "$folder/munge/munge.key"
    cat > "$folder/slurm.conf" <<END
ClusterName=onenode
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
KillWait=5
MpiDefault=none
SchedulerParameters=batch_sched_delay=1,sched_interval=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    [ -f /sys/fs/cgroup/cgroup.controllers ] && cgroups=autodetect || cgroups=cgroup/v1
    echo "CgroupPlugin=$cgroups" > "$folder/cgroup.conf"
}

start() {
    for program in munged slurmctld slurmd sbatch; do
        command -v $program > /dev/null || { echo "$program is not installed: apt install slurm-wlm munge" >&2; exit 1; }
    done
    configure
    munged --force --key-file="$folder/munge/munge.key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    slurmctld -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF"
    echo "export SLURM_CONF=$SLURM_CONF"
}

stop() {
    scancel --partition=all --state=PENDING,RUNNING,SUSPENDED 2> /dev/null || true
    tries=30
    while [ $tries -gt 0 ] && [ -n "$(squeue --noheader 2> /dev/null)" ]; do # jobs that are ended are seen to by slurmd
        sleep 1
        tries=$((tries - 1))
    done
    for daemon in slurmd slurmctld munged; do
        [ -f "$folder/$daemon.pid" ] || continue
        process=$(cat "$folder/$daemon.pid")
        kill "$process" 2> /dev/null || continue
        tries=10
        while [ $tries -gt 0 ] && kill -0 "$process" 2> /dev/null; do
            sleep 1
            tries=$((tries - 1))
        done
        kill -9 "$process" 2> /dev/null || true
    done
}

case $command in
    start) start ;;
    stop) stop ;;
    *) usage ;;
esac
