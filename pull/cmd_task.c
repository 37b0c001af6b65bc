/* `task`: one job on the node where a batch system began it. It needs no configuration: all
 * that it must know stands in the job's folder. */
#include <stdio.h>

#include "pull/commands.h"
#include "pull/job_task.h"

int command_task(struct invocation *in)
{
    if (in->operand_count != 2) {
        fprintf(stderr, "skyferry-pull: task needs a job's folder and the key of its submission; "
                "batch scripts call it (etc/jobs/)\n");
        return EXIT_USAGE;
    }
    return task_run(in->operands[0], in->operands[1]);
}
