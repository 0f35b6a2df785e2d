"""What is kept between runs: places, stamp, project, record, lock; the null build."""
