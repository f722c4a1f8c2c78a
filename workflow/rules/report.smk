rule placeholder_report:
    output:
        "results/report.html",
    shell:
        "false"
